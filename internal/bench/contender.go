package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/internal/natlab"
)

// baseline is the contender that the others are compared with.
const baseline = "wireguard-go"

// contender is a way from a to b, and to c.
type contender struct {
	name  string
	start func(ctx context.Context, s *stage) error
	skip  string // why it cannot be measured here; "" if it can
}

// stage is the lab of one contender's turn. What runs in it ends with close.
type stage struct {
	lab  *natlab.Lab
	dir  string
	self string          // this program
	ctx  context.Context // of the processes

	closers []io.Closer    // what close closes first
	running sync.WaitGroup // waits for the processes that startRole started

	a, b, c, hub, relay *natlab.Host

	// What start fills in.
	addr  [3]netip.Addr // of a, b and c inside the tunnel
	procs []proc        // whose CPU counts: a and b first, then what is between them
	third proc          // of c, which has a part in the fairness load alone
	nodes []*e2e.Node   // of p2ptun: a, b and c
	env   []string      // of theirs, besides

	profilers map[string]profiler // of the processes that can be profiled, by name

	// check says whether the path is the one to be measured. Nil: it can be no
	// other.
	check func(ctx context.Context) error
}

func newStage(ctx context.Context) (s *stage, err error) {
	s = &stage{ctx: ctx, profilers: make(map[string]profiler)}
	if s.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "p2ptun-bench-"); err != nil {
		return nil, err
	}
	if s.lab, err = natlab.New(); err != nil {
		s.close()
		return nil, err
	}
	for name, h := range map[string]**natlab.Host{"a": &s.a, "b": &s.b, "c": &s.c, "hub": &s.hub, "relay": &s.relay} {
		if *h, err = s.lab.PublicHost(name); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *stage) close() {
	for _, c := range s.closers {
		c.Close()
	}
	if s.lab != nil {
		s.lab.Close()
	}
	s.running.Wait()
	os.RemoveAll(s.dir)
}

// contenders are those asked for, in the order of their turns.
func contenders(o *options, bins []program) []contender {
	all := []contender{{name: baseline, start: startWireGuard}}
	for _, b := range bins {
		all = append(all, contender{name: b.name + " direct", start: b.startDirect})
		if runtime.NumCPU() > 1 {
			all = append(all, contender{name: b.name + allProcessors, start: b.startOnAll})
		}
	}
	for _, b := range bins {
		all = append(all, contender{name: b.name + " relayed", start: b.startRelayed},
			contender{name: b.name + " over TCP", start: b.startOver("tcp")},
			contender{name: b.name + " over TLS", start: b.startOver("tls")},
			contender{name: b.name + " over a WebSocket", start: b.startOver("websocket")})
	}
	for _, b := range bins {
		all = append(all, contender{name: b.name + " by coturn", skip: b.missingRelay(), start: b.startCoturn})
	}
	return asked(o, all, func(c contender) string { return c.name })
}

// asked leaves those whose names were asked for.
func asked[T any](o *options, all []T, name func(T) string) []T {
	return slices.DeleteFunc(all, func(c T) bool { return !o.asked(name(c)) })
}

// asked says whether something is to be measured: its name has a part that was
// asked for, or nothing special was.
func (o *options) asked(name string) bool {
	return len(o.only) == 0 || slices.ContainsFunc(o.only, func(part string) bool { return strings.Contains(name, part) })
}

// program is a p2ptun to measure.
type program struct {
	name, path string
	built      bool // from here
}

// programs are those given, or one built in dir.
func programs(o *options, dir string) (all []program, err error) {
	for _, s := range o.bins {
		name, path, found := strings.Cut(s, "=")
		if !found {
			name, path = "p2ptun", s
		}
		all = append(all, program{name: name, path: path})
	}
	if len(all) > 0 {
		return all, nil
	}
	fmt.Println("building p2ptun")
	path, err := e2e.Build(dir, "-buildvcs=false", "-trimpath", "-ldflags=-s -w")
	return []program{{"p2ptun", path, true}}, err
}
