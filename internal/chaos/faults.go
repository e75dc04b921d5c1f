package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

const (
	three = "direct,relayed,lan"
	hubUp = 8 * time.Second // that long it is away
)

var faults = []*fault{
	{name: "connections flushed on one NAT", pairs: three, short: "direct", can: hasHome, begin: func(s *stage) error { return s.a.home.Flush() }},
	{name: "connections flushed on both NATs", pairs: "direct,relayed", short: "direct", can: hasHome, begin: flushBoth},
	{name: "client's address changed", pairs: three, short: "direct", begin: renumberClient},
	{name: "NAT's public address changed", pairs: three, can: hasHome, begin: renumberNAT},
	{name: "default route moved to a second uplink", pairs: three, short: "direct", prepare: secondUplink, can: hasSecond, begin: useUplink(true), undo: useUplink(false)},
	{name: "connections flushed on one NAT, behind it one that only receives", pairs: "direct,relayed", can: nobody, receives: true, begin: func(s *stage) error { return s.a.home.Flush() }},
	{name: "address changed of a client that only receives", pairs: three, can: nobody, receives: true, begin: renumberClient},
	{name: "NAT's public address changed, behind it one that only receives", pairs: "direct,relayed", can: nobody, receives: true, begin: renumberNAT},
	{name: "default route moved by one that only receives", pairs: "direct,relayed", can: nobody, receives: true, prepare: secondUplink, begin: useUplink(true)},
	{name: "client's link down for 5 s", pairs: three, short: "direct", blind: three, begin: func(s *stage) error { return s.a.node.Host.Unplug() }, lasts: 5 * time.Second, end: func(s *stage) error { return s.a.node.Host.Plug() }},
	{name: "NAT's uplink down for 5 s", pairs: three, short: "relayed,lan", blind: "direct,relayed", can: hasHome, begin: func(s *stage) error { return s.a.home.Unplug() }, lasts: 5 * time.Second, end: func(s *stage) error { return s.a.home.Plug() }},

	{name: "hub killed for 8 s", pairs: three + ",far coturn", short: "direct,lan", hub: true, blind: "relayed", begin: killHub, lasts: hubUp, end: restartHub},
	{name: "hub restarted", pairs: three, short: "direct,relayed", hub: true, blind: "relayed", begin: killHub, end: restartHub},
	{name: "hub killed, then client's address changed", pairs: "full,address,mutual,lan", begin: both(killHub, renumberClient), lasts: hubUp, end: restartHub},
	{name: "hub killed, then NAT's public address changed", pairs: "full,mutual", can: hasHome, begin: both(killHub, renumberNAT), lasts: hubUp, end: restartHub},
	{name: "hub killed, then a node restarted", pairs: "direct,mutual,lan", begin: both(killHub, killNode, restartNode), lasts: hubUp, end: restartHub},
	{name: "relay killed, a second one is there", pairs: "near coturn", short: "near coturn", hub: true, can: nobody, begin: killRelay},
	{name: "relay killed for 5 s, the only one", pairs: "coturn", hub: true, blind: "coturn", can: nobody, begin: killRelay, lasts: 5 * time.Second, end: restartRelay},

	{name: "direct path loses data alone for 8 s", pairs: "direct,lan", short: "direct,lan", begin: change(natlab.Link{Lose: isData}), lasts: 8 * time.Second, end: mend},
	{name: "daemon killed and started again", pairs: three, short: "direct,relayed,lan", blind: three, begin: killNode, end: restartNode},
	{name: "daemon stopped (SIGSTOP) for 10 s", pairs: three, short: "direct,relayed", blind: three, begin: sendSignal(syscall.SIGSTOP), lasts: 10 * time.Second, end: sendSignal(syscall.SIGCONT)},

	{name: "30 % loss for 6 s", pairs: three, short: "direct,relayed", begin: change(natlab.Link{Loss: 0.3}), lasts: 6 * time.Second, end: mend},
	{name: "200 ms jitter for 6 s", pairs: three, short: "direct", begin: change(natlab.Link{Delay: 200 * time.Millisecond, Jitter: 200 * time.Millisecond}), lasts: 6 * time.Second, end: mend},
	{name: "30 % reordered for 6 s", pairs: three, short: "direct", begin: change(natlab.Link{Reorder: 0.3}), lasts: 6 * time.Second, end: mend},
	{name: "30 % duplicated for 6 s", pairs: three, short: "relayed", begin: change(natlab.Link{Duplicate: 0.3}), lasts: 6 * time.Second, end: mend},
	{name: "clock an hour forward", pairs: three, clock: true, prepare: useClock, begin: stepClock(time.Hour), undo: stepClock(0)},
	{name: "clock an hour back", pairs: three, clock: true, prepare: useClock, begin: stepClock(-time.Hour), undo: stepClock(0)},
}

func flushBoth(s *stage) error {
	if err := s.a.home.Flush(); err != nil || s.b.home == nil {
		return err
	}
	return s.b.home.Flush()
}

func renumberClient(s *stage) error { return s.a.node.Host.Renumber() }
func renumberNAT(s *stage) error    { return s.a.home.Renumber() }
func killHub(s *stage) error        { return kill(s.hub.Process) }
func restartHub(s *stage) error     { return s.restartHub() }
func killNode(s *stage) error       { return kill(s.a.proc) }
func restartNode(s *stage) error    { return s.startNode(s.a) }

func nobody(*place) bool      { return false }
func hasHome(p *place) bool   { return p.home != nil }
func hasSecond(p *place) bool { return p.second != nil }

// secondUplink gives a another home's LAN besides its own. Where a direct path is
// not possible it makes none possible.
func secondUplink(s *stage) error {
	behavior := natlab.PortRestricted
	if s.pair != nil && s.pair.kind == relayed {
		behavior = natlab.Symmetric
	}
	home, err := s.lab.NAT("a-other", behavior, natlab.Through(uplink))
	if err != nil {
		return err
	}
	s.a.second, err = s.a.node.Host.AddUplink(home)
	return err
}

// useUplink moves the default route of a to its second uplink, or back.
func useUplink(second bool) func(*stage) error {
	return func(s *stage) error {
		if second {
			return s.a.node.Host.DefaultVia(s.a.second)
		}
		return s.a.node.Host.DefaultVia(s.a.node.Host.FirstUplink())
	}
}

func both(steps ...func(*stage) error) func(*stage) error {
	return func(s *stage) error {
		for _, step := range steps {
			if err := step(s); err != nil {
				return err
			}
		}
		return nil
	}
}

func sendSignal(sig os.Signal) func(*stage) error {
	return func(s *stage) error { return s.a.proc.Signal(sig) }
}

// killRelay kills coturn, which is to carry.
func killRelay(s *stage) error {
	p, err := s.a.node.Look(s.ctx, s.b.node)
	if at := netip.PrefixFrom(s.relayHost.Addr(), 32); err == nil && !isWithin(p.Local, at) && !isWithin(p.Remote, at) {
		err = fmt.Errorf("not relayed by coturn: from %v to %v", p.Local, p.Remote)
	}
	return errors.Join(err, kill(s.relay))
}

func restartRelay(s *stage) (err error) {
	s.relay, _, err = s.rig.StartCoturn(s.ctx, s.relayHost)
	return err
}

// change adds something to the link between a and the others.
func change(k natlab.Link) func(*stage) error {
	return func(s *stage) error {
		add := k
		add.Delay += s.a.link.Delay
		return s.a.setLink(add)
	}
}

func mend(s *stage) error { return change(natlab.Link{})(s) }
