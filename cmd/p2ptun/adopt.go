package main

import (
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// background is the side of the process that stays: its output goes to the
// `up` that waits, and to the log file once that one has gone. Safe for
// concurrent use.
type background struct {
	mu     sync.Mutex
	parent *os.File  // nil after ready
	log    io.Writer // nil before logTo
}

// adoptBackground takes over what a starting `up` left for this process; nil
// if there is no such thing.
func adoptBackground() *background {
	if os.Getenv(backgroundEnv) == "" {
		return nil
	}
	os.Unsetenv(backgroundEnv)
	unix.CloseOnExec(backgroundFD)
	return &background{parent: os.NewFile(backgroundFD, "parent")}
}

// Write implements io.Writer. It does not fail when nobody listens any more.
func (b *background) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.parent != nil:
		b.parent.Write(p)
	case b.log != nil:
		b.log.Write(p)
	}
	return len(p), nil
}

// logTo opens the log file, which also gets what Go prints of a crash.
func (b *background) logTo(path string) (io.Writer, error) {
	f, err := openLog(path, maxLog, replaceStderr)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = f
	return f, nil
}

// ready lets the waiting `up` go; it may have gone already.
func (b *background) ready() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parent.WriteString(readyMark + "\n")
	b.parent.Close()
	b.parent = nil
}
