package natlab

import (
	"bytes"
	"testing"
	"time"
)

// A link changes while it is in use: its delay, and what it loses.
func TestSetLink(t *testing.T) {
	lab := newLab(t)
	hubHost := Must(lab.PublicHost("hub"))
	hub := newParty(t, hubHost, 0)
	home := Must(lab.NAT("home", PortRestricted, Through(Link{Delay: time.Millisecond})))
	a := Must(home.Host("a", Through(Link{Delay: time.Millisecond})))
	p := newParty(t, a, 0)
	p.wantEcho(hub.addr, hub)
	for name, set := range map[string]func(Link) error{"host": a.SetLink, "NAT": home.SetLink} {
		const delay = 30 * time.Millisecond
		if err := set(Link{Delay: delay}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		p.wantEcho(hub.addr, hub)
		if took := time.Since(start); took < 2*delay {
			t.Errorf("%s: round trip %v with a delay of %v", name, took, delay)
		}
		if err := set(Link{Lose: func(packet []byte) bool { return bytes.Contains(packet, []byte("odd")) }}); err != nil {
			t.Fatal(err)
		}
		p.send(hub.addr, "odd")
		p.send(hub.addr, "even")
		if text, _ := hub.receive(); text != "even" {
			t.Errorf("%s: received %q", name, text)
		}
		if err := set(Link{Loss: 2}); err == nil {
			t.Errorf("%s: takes a loss of 2", name)
		}
		if err := set(Link{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := hubHost.SetLink(Link{}); err == nil {
		t.Error("an ideal link takes another")
	}
}
