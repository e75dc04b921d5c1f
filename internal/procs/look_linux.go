package procs

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is the unit of /proc/stat on every platform of Linux that Go knows.
const userHZ = time.Second / 100

func look() (r reading, ok bool) {
	var own unix.Rusage
	stat, err := os.ReadFile("/proc/stat")
	if err != nil || unix.Getrusage(unix.RUSAGE_SELF, &own) != nil {
		return r, false
	}
	idle, ok := idleTicks(stat)
	r = reading{at: time.Now(), idle: time.Duration(idle) * userHZ}
	r.used = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return r, ok
}

// idleTicks reads how long processors had nothing to do from the first line of
// /proc/stat: "cpu", user, nice, system, idle, waiting for disks, ….
func idleTicks(stat []byte) (ticks int64, ok bool) {
	line, _, _ := bytes.Cut(stat, []byte{'\n'})
	fields := bytes.Fields(line)
	if len(fields) < 6 {
		return 0, false
	}
	for _, f := range fields[4:6] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, false
		}
		ticks += n
	}
	return ticks, true
}
