package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// processors are those that this process may use.
func processors() (set unix.CPUSet, err error) {
	err = unix.SchedGetaffinity(0, &set)
	return set, err
}

// apart divides the processors: one for a server, the others for its load. It
// says false where there is one alone.
func apart(all unix.CPUSet) (server, load unix.CPUSet, ok bool) {
	if all.Count() < 2 {
		return all, all, false
	}
	last := 0
	for i := range len(all) * 64 {
		if all.IsSet(i) {
			last = i
		}
	}
	server.Set(last)
	load = all
	load.Clear(last)
	return server, load, true
}

// pin has a process run on such processors, with all the threads that it has
// or will have.
func pin(pid int, set *unix.CPUSet) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return err
	}
	for _, path := range threads {
		tid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("pin process %d: %w", pid, err)
		}
	}
	return nil
}

// alone runs f, which starts a server, with one processor for what it starts,
// then keeps this process off that until release.
func alone(f func() (pid int, err error)) (release func() error, err error) {
	all, err := processors()
	if err != nil {
		return nil, err
	}
	release = func() error { return pin(os.Getpid(), &all) }
	os.Setenv("GOMAXPROCS", "1")
	pid, err := f()
	os.Unsetenv("GOMAXPROCS")
	if err != nil {
		return release, err
	}
	server, load, ok := apart(all)
	if !ok {
		return release, nil
	}
	if err := pin(pid, &server); err != nil {
		return release, err
	}
	return release, pin(os.Getpid(), &load)
}
