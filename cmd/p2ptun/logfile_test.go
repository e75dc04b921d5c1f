package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLogFile: the log stays below its bound while it is written, one old file
// is kept, and no line is lost in between or cut.
func TestLogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var crashes *os.File // where they would go
	l, err := openLog(path, 100, func(f *os.File) error { crashes = f; return nil })
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 29) + "\n"
	for n, want := range []struct{ now, old int }{{1, 0}, {2, 0}, {3, 0}, {1, 3}, {2, 3}, {3, 3}, {1, 3}} {
		if _, err := l.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		now, _ := os.ReadFile(path)
		old, _ := os.ReadFile(path + ".1")
		if string(now) != strings.Repeat(line, want.now) || string(old) != strings.Repeat(line, want.old) {
			t.Errorf("line %d: %d and %d bytes, want %d and %d lines", n, len(now), len(old), want.now, want.old)
		}
		info, err := crashes.Stat()
		if err != nil || info.Size() != int64(len(now)) {
			t.Errorf("line %d: crashes go to another file: %v", n, err)
		}
	}
	l.file.Close()

	l, err = openLog(path, 100, func(*os.File) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l.Write([]byte(line))
	}
	if now, _ := os.ReadFile(path); len(now) != len(line) {
		t.Errorf("opened again: %d bytes, want what was there to count", len(now))
	}
}

// TestLogFileStuck: where there is no room for a new file the old one goes on.
func TestLogFileStuck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var refuse error
	l, err := openLog(path, 10, func(*os.File) error { return refuse })
	if err != nil {
		t.Fatal(err)
	}
	refuse = errors.New("no")
	for range 3 {
		if n, err := l.Write([]byte("12345678")); n != 8 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	if log, _ := os.ReadFile(path); len(log) != 24 {
		t.Errorf("%d bytes in the log, want all 24", len(log))
	}
	l.file.Close()
	if _, err := openLog(filepath.Join(path, "below"), 10, nil); err == nil {
		t.Error("a log below a file was opened")
	}
}
