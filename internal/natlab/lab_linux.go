package natlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
)

// A Lab is one test internet. Safe for concurrent use. Close it.
type Lab struct {
	home    *os.File // the namespace that New was called in
	spawner *spawner

	mu         sync.Mutex // guards what follows, and serializes building
	closed     bool
	namespaces []*namespace
	core       *core
	wires      *wireRoom
	lans       int      // automatic LAN prefixes given out
	ending     []func() // called by Close, before it kills
}

var errClosed = errors.New("natlab: the lab is closed")

// New makes a lab with nothing in it but the core.
func New() (*Lab, error) {
	home, _, err := openThreadNamespace()
	if err != nil {
		return nil, fmt.Errorf("natlab: %w", err)
	}
	l := &Lab{home: home, spawner: startSpawner(home)}
	if l.core, err = newCore(l); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Must returns v or panics, for labs that are written down as one topology:
//
//	hub := natlab.Must(lab.PublicHost("hub"))
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// namespace makes a namespace that Close ends. l.mu is held.
func (l *Lab) namespace(name string) (*namespace, error) {
	if l.closed {
		return nil, errClosed
	}
	n, err := newNamespace(name, l.home)
	if err != nil {
		return nil, err
	}
	l.namespaces = append(l.namespaces, n)
	return n, nil
}

// Close kills every process in the lab's namespaces, waits until they are
// gone, and lets go of the namespaces. Sockets that the caller opened inside
// stay open, and keep their namespace, until the caller closes them. Calls
// after the first return nil at once.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.spawner.stop()
	for _, stop := range l.ending {
		stop()
	}
	inodes := make(map[uint64]bool)
	for _, n := range l.namespaces {
		inodes[n.inode] = true
	}
	err := killInside(inodes)
	if l.wires != nil {
		l.wires.close()
	}
	for _, n := range l.namespaces {
		n.close()
	}
	l.home.Close()
	return err
}

// nextLAN returns the next automatic prefix: 192.168.N.0/24 for a home,
// 100.64.N.0/24 (RFC 6598) for a carrier. l.mu is held.
func (l *Lab) nextLAN(carrier bool) netip.Prefix {
	l.lans++
	n := byte(l.lans)
	if carrier {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, n, 0}), 24)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, n, 0}), 24)
}
