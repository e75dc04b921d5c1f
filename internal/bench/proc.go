package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// proc is a process of a contender.
type proc struct {
	name string // a, b, c, hub or relay
	pid  int
}

// clockTick is the unit of utime and stime in /proc/PID/stat: USER_HZ, the
// same on every architecture that Go knows.
const clockTick = 10 * time.Millisecond

// cpu is how long a process has run so far, the kernel's work on its behalf
// included. The threads' own clocks are exact, but are gone with a thread that
// has ended; the process's ticks are coarse, but lose nothing.
func (p proc) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return 0, err
	}
	ticks, err := parseStat(string(b))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", p.name, err)
	}
	var exact time.Duration
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid))
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended since
		}
		d, err := parseSchedstat(string(b))
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p.name, err)
		}
		exact += d
	}
	return max(exact, ticks), nil
}

// parseSchedstat reads the first field of a schedstat file: nanoseconds on a
// processor.
func parseSchedstat(s string) (time.Duration, error) {
	first, _, _ := strings.Cut(s, " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("schedstat %q: %w", s, err)
	}
	return time.Duration(ns), nil
}

// parseStat reads utime and stime, fields 14 and 15 of a stat file. The second
// field is the program's name, which may hold anything, in parentheses.
func parseStat(s string) (time.Duration, error) {
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat %q is too short", s)
	}
	var sum time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat: %w", err)
		}
		sum += time.Duration(n) * clockTick
	}
	return sum, nil
}

// memory is the process's resident set in bytes, now and at its highest since
// resetPeak.
func (p proc) memory() (now, peak int, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return 0, 0, err
	}
	if now, err = parseStatus(string(b), "VmRSS"); err != nil {
		return 0, 0, err
	}
	peak, err = parseStatus(string(b), "VmHWM")
	return now, peak, err
}

// resetPeak makes the highest resident set the present one (proc(5),
// clear_refs).
func (p proc) resetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid), []byte("5"), 0)
}

// parseStatus reads a size in a status file, in bytes.
func parseStatus(s, field string) (int, error) {
	_, rest, found := strings.Cut("\n"+s, "\n"+field+":")
	fields := strings.Fields(rest)
	if !found || len(fields) < 2 || fields[1] != "kB" {
		return 0, fmt.Errorf("no %s in kB in the status", field)
	}
	kib, err := strconv.Atoi(fields[0])
	return kib << 10, err
}
