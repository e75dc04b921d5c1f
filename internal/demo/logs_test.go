package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestRecordText(t *testing.T) {
	const at = `{"time":"2026-01-02T03:04:05.678Z","level":`
	for _, x := range []struct{ name, line, want string }{
		{"candidate", at + `"DEBUG","msg":"candidate","type":"srflx","local":"198.51.100.2:7"}`, "candidate: srflx 198.51.100.2:7"},
		{
			"path", at + `"INFO","msg":"path","peer":"b","path":"direct","local":"192.168.1.2:1","remote":"203.0.113.2:2","type":"srflx","rtt":1560000}`,
			"path to b: direct, 192.168.1.2:1 → 203.0.113.2:2 (srflx), 1.6 ms",
		},
		{
			"nominated", at + `"DEBUG","msg":"pair nominated","peer":"b","path":"relayed","local":"192.0.2.2:1","remote":"203.0.113.2:2","type":"relay"}`,
			"nominated with b: relayed, 192.0.2.2:1 → 203.0.113.2:2 (relay)",
		},
		{"joined", at + `"INFO","msg":"joined","remote":"203.0.113.2:2","name":"b"}`, "b is a member now"},
		{"warning", at + `"WARN","msg":"refused by the hub","code":"x","err":"no"}`, "WARN: refused by the hub: no"},
		{"warning without err", at + `"WARN","msg":"it rains"}`, "WARN: it rains"},
		{"everyday", at + `"INFO","msg":"relay released","err":"x"}`, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			r, ok := parseRecord(x.line)
			if !ok {
				t.Fatalf("no record: %s", x.line)
			}
			if got := r.text(); got != x.want {
				t.Errorf("got %q, want %q", got, x.want)
			}
			if want := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC); !r.Time.Equal(want) {
				t.Errorf("got time %v, want %v", r.Time, want)
			}
		})
	}
}

func TestParseRecordLeavesProgress(t *testing.T) {
	for _, line := range []string{"", "p2ptun0 is up: 10.77.0.1", "77", `{"some":"JSON"}`} {
		if r, ok := parseRecord(line); ok {
			t.Errorf("%q: got the record %+v, want none", line, r)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, x := range [][2]string{
		{"up p2ptun-invite-AQESd3M6_y8-xOTIu", "up p2ptun-invite-AQES…"},
		{"--hub p2ptun-hub-AQESd3M6Ly8 --prefix 10.77.0.0/16", "--hub p2ptun-hub-AQES… --prefix 10.77.0.0/16"},
		{"p2ptun-hub-demo and p2ptun status", "p2ptun-hub-demo and p2ptun status"},
	} {
		if got := shorten(x[0]); got != x[1] {
			t.Errorf("%q: got %q, want %q", x[0], got, x[1])
		}
	}
}

// A follower waits for the file, takes lines only when they are complete, and
// reads what is there when it is told to end.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	ctx, cancel := context.WithCancel(t.Context())
	lines, ended := make(chan string, 8), make(chan struct{})
	go func() {
		defer close(ended)
		follow(ctx, path, func(line string) { lines <- line })
	}()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got := []string{}
	file.WriteString("one\ntw")
	got = append(got, <-lines)
	file.WriteString("o\n")
	got = append(got, <-lines)
	file.WriteString("three\nunfinished")
	cancel()
	<-ended
	close(lines)
	for line := range lines {
		got = append(got, line)
	}
	if want := []string{"one", "two", "three"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
