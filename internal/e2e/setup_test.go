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
	s.hubHost = natlab.Must(lab.PublicHost("hub"))
	s.hub, err = s.rig.StartHub(ctx, s.hubHost, hubArgs...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// place makes a host of that name in such a place.
func (s *setup) place(kind, name string) *natlab.Host {
	lab := s.rig.Lab
	switch kind {
	case "public":
		return natlab.Must(lab.PublicHost(name))
	case "cgnat-port", "cgnat-symmetric":
		behavior := natlab.Must(natlab.Parse(kind[len("cgnat-"):]))
		carrier := natlab.Must(lab.NAT(name+"-isp", behavior, natlab.CarrierGrade()))
		return natlab.Must(natlab.Must(carrier.NAT(name+"-home", natlab.PortRestricted)).Host(name))
	}
	return natlab.Must(natlab.Must(lab.NAT(name+"-home", natlab.Must(natlab.Parse(kind)))).Host(name))
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
