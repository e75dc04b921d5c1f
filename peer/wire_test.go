package peer

import (
	"bytes"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a network without a router: each address is one node's, packets
// arrive after a millisecond. It knows IPv6 and many addresses per node, which
// the lab does not.
type wire struct {
	lab   *lab
	mu    sync.Mutex // guards nodes
	nodes map[netip.Addr]*Underlay
}

// socket is the socket of a node; first is where packets leave from when the
// choice is left to the kernel.
func (w *wire) socket(port uint16, first ...netip.Addr) Socket {
	return socketFunc(func(b []byte, local netip.Addr, to netip.AddrPort) error {
		if !local.IsValid() {
			for _, a := range first {
				if a.Is4() == to.Addr().Is4() {
					local = a
				}
			}
		}
		if local.Is4() != to.Addr().Is4() {
			return errors.New("no route to host")
		}
		w.mu.Lock()
		u := w.nodes[to.Addr()]
		w.mu.Unlock()
		if u != nil {
			b = bytes.Clone(b)
			w.lab.after(time.Millisecond, func() { u.Handle(b, to.Addr(), netip.AddrPortFrom(local, port)) })
		}
		return nil
	})
}

func (w *wire) node(addrs ...string) *node {
	n := &node{lab: w.lab, name: addrs[0], got: make(map[string]time.Time), seen: make(map[source]bool)}
	var list []netip.Addr
	for _, a := range addrs {
		list = append(list, netip.MustParseAddr(a))
	}
	n.underlay = NewUnderlay(UnderlayConfig{Socket: w.socket(nodePort, list...), Port: nodePort, Log: w.lab.log})
	n.underlay.SetAddresses(list)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range list {
		w.nodes[a] = n.underlay
	}
	return n
}

// onWire runs f with a wire and the parts of the lab that need no router.
func onWire(t *testing.T, f func(l *lab, w *wire)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		defer l.stop()
		f(l, &wire{lab: l, nodes: make(map[netip.Addr]*Underlay)})
	})
}

func TestIPv6(t *testing.T) {
	onWire(t, func(l *lab, w *wire) {
		k := l.pair(w.node("2001:db8::1"), w.node("192.0.2.2", "2001:db8::2"))
		k.online()
		k.connected(l, PathDirect, time.Second)
		s := k.a.Snapshot()
		want := netip.MustParseAddrPort("[2001:db8::2]:41000")
		if s.Remote != (Endpoint{Host, want}) || s.Local.Addr.String() != "[2001:db8::1]:41000" {
			t.Errorf("%+v, want the IPv6 addresses", s)
		}
		if p, _ := k.a.path(); p != (Path{Local: netip.MustParseAddr("2001:db8::1"), Remote: want}) {
			t.Errorf("path %+v", p)
		}
	})
}

// Each candidate of a machine with many addresses is checked from its own.
func TestManyAddresses(t *testing.T) {
	onWire(t, func(l *lab, w *wire) {
		a := w.node("192.0.2.1", "198.51.100.1")
		b := w.node("192.0.2.2", "198.51.100.2")
		k := l.pair(a, b)
		k.online()
		k.connected(l, PathDirect, time.Second)
		time.Sleep(3 * time.Second)
		k.b.mu.Lock()
		defer k.b.mu.Unlock()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, addr := range []string{"192.0.2.1:41000", "198.51.100.1:41000"} {
			if !b.seen[source{nil, netip.MustParseAddrPort(addr)}] {
				t.Errorf("b was not checked from %s; it saw %v", addr, b.seen)
			}
		}
	})
}

// An address that goes away takes the path along, one that comes is used.
func TestAddressChange(t *testing.T) {
	onWire(t, func(l *lab, w *wire) {
		a, b := w.node("192.0.2.1", "198.51.100.1"), w.node("192.0.2.2")
		k := l.pair(a, b)
		k.online()
		k.connected(l, PathDirect, time.Second)
		time.Sleep(3 * time.Second)
		old, _ := k.a.path()
		gone, stays := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
		if old.Local != gone {
			gone, stays = stays, gone
		}
		w.mu.Lock()
		delete(w.nodes, gone)
		w.mu.Unlock()
		a.underlay.SetAddresses([]netip.Addr{stays})
		took := l.until(5*time.Second, "path from the address that stays", func() bool {
			p, _ := k.a.path()
			q, _ := k.b.path()
			return p.Local == stays && q.Remote.Addr() == stays
		})
		t.Logf("moved after %v", took)
		if took > time.Second {
			t.Errorf("moved after %v, want at most 1s", took)
		}
	})
}
