// Package procs lets a program use as many processors as it has work for
// (GOMAXPROCS), and no more.
//
// A packet passes through half a dozen goroutines. Where each may run on another
// processor, waking one costs more than what it then does: measured with one TCP
// stream between two machines of one processor each, 3.0 s of processor time per
// gigabyte on one, 3.6 s on two. So a node begins with one, and takes another
// when that is busy and the machine has one to spare, which is when hand-overs
// are paid for by work that is done side by side. Under other load, or with
// little of its own, it gives it back.
//
// The garbage collector needs no setting: the packet path makes no garbage, and
// a GOGC of 400 changed nothing that could be measured.
package procs

import (
	"context"
	"os"
	"runtime"
	"time"
)

// How often is looked: less often while there is little to do.
const (
	busyEvery = 200 * time.Millisecond
	idleEvery = time.Second
)

// Run sets the number of processors until ctx ends, then restores it and
// returns nil. It does nothing where the GOMAXPROCS environment variable says
// how many, or the system does not tell how busy it is. Call it once.
func Run(ctx context.Context) error {
	most := runtime.GOMAXPROCS(0)
	last, ok := look()
	if os.Getenv("GOMAXPROCS") != "" || most == 1 || !ok {
		return nil
	}
	defer runtime.GOMAXPROCS(most)
	g := governor{most: most, now: 1}
	runtime.GOMAXPROCS(1)
	timer := time.NewTimer(idleEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		next, ok := look()
		if !ok {
			return nil
		}
		load := next.since(last)
		last = next
		if n := g.now; g.next(load) != n {
			runtime.GOMAXPROCS(g.now)
		}
		if load.used > 0.5 {
			timer.Reset(busyEvery)
		} else {
			timer.Reset(idleEvery)
		}
	}
}

// reading is what the system has counted at a moment.
type reading struct {
	at         time.Time
	used, idle time.Duration // processor time of this process; that nobody used
}

// load is how many processors were at work between two readings.
type load struct {
	took       time.Duration
	used, idle float64
}

func (r reading) since(before reading) load {
	d := r.at.Sub(before.at)
	return load{d, float64(r.used-before.used) / float64(d), float64(r.idle-before.idle) / float64(d)}
}

// governor decides how many processors are used.
type governor struct {
	most, now int
	calm      time.Duration // for how long fewer would have done
}

const (
	// full is how busy processors are that another one is to help, if that much
	// of one is idle.
	full  = 0.9
	spare = 0.6

	// slack is how busy the others would be at most after one is given up, and
	// calmFor for how long that has to be so.
	slack   = 0.7
	calmFor = 5 * time.Second
)

// next takes a look and returns how many processors are to be used now.
func (g *governor) next(l load) int {
	switch {
	case g.now < g.most && l.used >= full*float64(g.now) && l.idle >= spare:
		g.now++
		g.calm = 0
	case g.now > 1 && l.used <= slack*float64(g.now-1):
		if g.calm += l.took; g.calm >= calmFor {
			g.now--
			g.calm = 0
		}
	default:
		g.calm = 0
	}
	return g.now
}
