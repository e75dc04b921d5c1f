package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

// watch asks both nodes all the time how they stand. Close it.
type watch struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	sides [2]side
}

// side is how it stands with one node.
type side struct {
	asked          bool
	best, hub      bool // as of the last look
	worse, hubless time.Time
	path           string    // as the node says it
	trail          []passage // of its changes
}

type passage struct {
	at   time.Time
	path string
}

func startWatch(s *stage) *watch {
	ctx, stop := context.WithCancel(s.ctx)
	w := &watch{stop: stop}
	for i, n := range []*e2e.Node{s.a.node, s.b.node} {
		other := []*e2e.Node{s.b.node, s.a.node}[i]
		w.running.Go(func() {
			_ = poll(ctx, func() bool { w.look(ctx, s.pair, i, n, other); return false })
		})
	}
	return w
}

func (w *watch) close() {
	w.stop()
	w.running.Wait()
}

func (w *watch) look(ctx context.Context, p *pair, i int, n, other *e2e.Node) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	began := time.Now()
	st, err := n.QuickStatus(ctx)
	hub, best, path := false, false, "no answer"
	if err == nil {
		hub = st.Hub.Connected
		path = "not known"
		if ps, err := e2e.Find(st, n, other); err == nil {
			best, path = p.best(*ps), fmt.Sprintf("%s %s", ps.State, ps.Path)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d := &w.sides[i]
	d.asked, d.best, d.hub = true, best, hub
	if !best {
		d.worse = time.Now()
	}
	if !hub {
		d.hubless = time.Now()
	}
	if path != d.path {
		d.path, d.trail = path, append(d.trail, passage{began, path})
	}
}

// all says whether both nodes have the best path, and the hub.
func (w *watch) all() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.sides {
		if !d.asked || !d.best || !d.hub {
			return false
		}
	}
	return true
}

// last is when one of the nodes last had no best path, and no hub.
func (w *watch) last() (worse, hubless time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.sides {
		if d.worse.After(worse) {
			worse = d.worse
		}
		if d.hubless.After(hubless) {
			hubless = d.hubless
		}
	}
	return worse, hubless
}

// said is the paths that the nodes have had.
func (w *watch) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("a: %s, hub %v; b: %s, hub %v", w.sides[0].path, w.sides[0].hub, w.sides[1].path, w.sides[1].hub)
}

// since is the paths that each node has had since then, with the seconds after
// it.
func (w *watch) since(t time.Time) (text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, d := range w.sides {
		text += " " + "ab"[i:i+1] + ":"
		for _, p := range d.trail {
			if p.at.After(t) {
				text += fmt.Sprintf(" %.2f %s", p.at.Sub(t).Seconds(), p.path)
			}
		}
	}
	return text
}

func connectedTo(ctx context.Context, n, other *e2e.Node) bool {
	p, err := n.Look(ctx, other)
	return err == nil && p.State == peer.Connected
}

// isWithin says whether an end of a path is in a prefix.
func isWithin(e tunnel.EndpointStatus, p netip.Prefix) bool {
	ap, err := netip.ParseAddrPort(e.Address)
	return err == nil && (p.Contains(ap.Addr().Unmap()) || ap.Addr().IsLinkLocalUnicast())
}
