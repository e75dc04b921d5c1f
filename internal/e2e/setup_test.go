package e2e

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// prefix is the network of every setup: its first node is the first address.
var prefix = netip.MustParsePrefix("10.77.0.0/16")

// setup is a lab with a hub.
type setup struct {
	t   *testing.T
	ctx context.Context
	rig *Rig
	hub *Hub

	hubHost *natlab.Host
}

func newSetup(t *testing.T) *setup { return newSetupFor(t, time.Minute, "debug") }

func newSetupFor(t *testing.T, limit time.Duration, logLevel string, hubArgs ...string) *setup {
	t.Helper()
	s := newLab(t, limit, logLevel)
	s.startHub(natlab.Must(s.rig.Lab.PublicHost("hub")), hubArgs...)
	return s
}

// newSetup6 is newSetup with a hub that has IPv6 as well.
func newSetup6(t *testing.T, hubArgs ...string) *setup {
	t.Helper()
	s := newLab(t, time.Minute, "debug")
	s.startHub(natlab.Must(s.rig.Lab.PublicHost("hub", natlab.IPv6())), hubArgs...)
	return s
}

func (s *setup) startHub(host *natlab.Host, args ...string) {
	s.t.Helper()
	var err error
	if s.hub, err = s.rig.StartHub(s.ctx, host, args...); err != nil {
		s.t.Fatal(err)
	}
	s.hubHost = host
}

// newLab is a setup without a hub.
func newLab(t *testing.T, limit time.Duration, logLevel string) *setup {
	t.Helper()
	requireLab(t)
	dir := t.TempDir() // removed when the processes that write there have ended with the lab
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	lab, err := natlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	s := &setup{t: t, ctx: ctx, rig: &Rig{Lab: lab, Bin: binary(t), Dir: dir, LogLevel: logLevel}}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range s.rig.Nodes {
				t.Logf("log of %s:\n%s", n.Name, n.Log())
			}
		}
	})
	s.rig.Output = func(process, line string) { t.Logf("%s: %s", process, line) }
	return s
}

// place makes a host of that name in such a place.
func (s *setup) place(kind, name string) *natlab.Host {
	return natlab.Must(Place(s.rig.Lab, kind, name))
}

// address is that of the i-th node to join, from 0.
func address(i int) netip.Addr {
	a := prefix.Addr().Next()
	for range i {
		a = a.Next()
	}
	return a
}

// exitCode is what a process ended with, or -1.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}
