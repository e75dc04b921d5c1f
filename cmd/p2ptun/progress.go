package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells what is being waited for. Safe for concurrent use.
type progress struct {
	mu       sync.Mutex
	w        io.Writer // nil: nothing is told any more
	terminal bool      // a person may be waiting
	timer    *time.Timer
}

// instant is what nobody has to be told about.
const instant = 400 * time.Millisecond

// say tells a person a line, once that takes longer than an instant, and unless
// another comes before.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil || !p.terminal {
		return
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	line := fmt.Sprintf(format, args...)
	p.timer = time.AfterFunc(instant, func() { p.keep("%s", line) })
}

// keep tells anybody a line now.
func (p *progress) keep(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil {
		fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// stop ends it. It is idempotent.
func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.w = nil
	if p.timer != nil {
		p.timer.Stop()
	}
}
