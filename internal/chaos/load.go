package main

import (
	"fmt"
	"os"
)

// load is what /proc/stat counts of all processors.
type load struct{ all, idle uint64 }

// readLoad reads it; zero if it cannot be read.
func readLoad() (l load) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return load{}
	}
	var f [8]uint64 // user, nice, system, idle, iowait, irq, softirq, steal
	if _, err := fmt.Sscanf(string(b), "cpu %d %d %d %d %d %d %d %d", &f[0], &f[1], &f[2], &f[3], &f[4], &f[5], &f[6], &f[7]); err != nil {
		return load{}
	}
	for _, n := range f {
		l.all += n
	}
	l.idle = f[3] + f[4]
	return l
}

// idleSince is the share of the machine that was idle since then.
func (l load) idleSince() float64 {
	now := readLoad()
	if now.all <= l.all {
		return 0
	}
	return float64(now.idle-l.idle) / float64(now.all-l.all)
}
