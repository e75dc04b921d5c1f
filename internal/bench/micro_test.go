package main

import (
	"slices"
	"testing"
)

func TestParseMicro(t *testing.T) {
	const out = `goos: linux
pkg: github.com/p2ptun/p2ptun/tunnel
BenchmarkAccept-2   	  100	  343.3 ns/op	  5.365 ns/packet	  0 B/op	  0 allocs/op
PASS
ok  	github.com/p2ptun/p2ptun/tunnel	1.0s
pkg: github.com/p2ptun/p2ptun/signaling/hub
BenchmarkMeter/one-way-2   	  100	  50 ns/op
`
	got := parseMicro(out)
	if len(got) != 2 || got[0].pkg != "tunnel" || got[0].name != "Accept" || got[1].name != "Meter/one-way" {
		t.Fatalf("%+v", got)
	}
	values := []string{got[0].value("ns/op"), got[0].value("allocs/op"), got[1].value("allocs/op")}
	if want := []string{"343.3", "0", "–"}; !slices.Equal(values, want) {
		t.Errorf("%q, want %q", values, want)
	}
}

func TestParseIdle(t *testing.T) {
	const out = `=== RUN   TestThousandIdle
    thousand_test.go:75: hub: x=1 is no measurement
    thousand_test.go:80: thousand idle: rss_mb=31.5 goroutines=40
--- PASS: TestThousandIdle (30.00s)
`
	if got, want := parseIdle(out), []fact{{"rss_mb", "31.5"}, {"goroutines", "40"}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := parseIdle("PASS\n"); got != nil {
		t.Errorf("%v of a test that does not run", got)
	}
}
