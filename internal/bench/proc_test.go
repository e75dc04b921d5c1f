package main

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	const stat = "77 (a (b) c) S 1 77 77 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 5 0 100 1000 200\n"
	if d, err := parseStat(stat); err != nil || d != 3*time.Second {
		t.Errorf("%v, %v; want 3 s", d, err)
	}
	for _, s := range []string{"", "77 (a) S 1 2 3", "77 (a) S 1 77 77 0 -1 4194560 100 0 0 0 x 50 7"} {
		if d, err := parseStat(s); err == nil {
			t.Errorf("%q: %v", s, d)
		}
	}
}

func TestParseSchedstat(t *testing.T) {
	if d, err := parseSchedstat("1500000 20 3\n"); err != nil || d != 1500*time.Microsecond {
		t.Errorf("%v, %v; want 1.5 ms", d, err)
	}
	if d, err := parseSchedstat(""); err == nil {
		t.Error(d)
	}
}

func TestParseStatus(t *testing.T) {
	const status = "Name:\tVmRSS: 7 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"
	if n, err := parseStatus(status, "VmRSS"); err != nil || n != 1<<20 {
		t.Errorf("%v, %v; want 1 MiB", n, err)
	}
	if n, err := parseStatus(status, "VmSwap"); err == nil {
		t.Error(n)
	}
}

// The CPU time of this process grows with what it does.
func TestCPU(t *testing.T) {
	p := proc{"self", os.Getpid()}
	before, err := p.cpu()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
	}
	after, err := p.cpu()
	if err != nil || after <= before {
		t.Errorf("%v after %v, %v", after, before, err)
	}
}

func TestApart(t *testing.T) {
	var all, want unix.CPUSet
	all.Set(1)
	if _, _, ok := apart(all); ok {
		t.Error("one processor was divided")
	}
	all.Set(70)
	want.Set(70)
	server, load, ok := apart(all)
	if !ok || server != want || load.Count() != 1 || !load.IsSet(1) {
		t.Errorf("%v, %v, %v", server, load, ok)
	}
}
