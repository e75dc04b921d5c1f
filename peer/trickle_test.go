package peer

import (
	"testing"
	"time"
)

func TestTrickleUntilAcknowledged(t *testing.T) {
	now := time.Unix(0, 0)
	var a trickle
	a.add("one")
	a.described(1, 2)
	if _, ok := a.next("u", now); ok {
		t.Error("something to send, though the description had it all")
	}
	a.add("two")
	var sent []time.Duration
	for at := now; at.Before(now.Add(20 * time.Second)); at = at.Add(100 * time.Millisecond) {
		if m, ok := a.next("u", at); ok {
			sent = append(sent, at.Sub(now))
			if len(m.Candidates) != 2 || !m.Want || m.Ack != 2 || m.Ufrag != "u" {
				t.Errorf("message %+v", m)
			}
		}
	}
	want := []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond, 3500 * time.Millisecond, 7500 * time.Millisecond, 15500 * time.Millisecond}
	if len(sent) != len(want) {
		t.Fatalf("sent at %v, want %v", sent, want)
	}
	for i := range want {
		if sent[i] != want[i] {
			t.Errorf("sent at %v, want %v", sent, want)
		}
	}
	a.receive(message{Ack: 2})
	if at := a.at(now.Add(time.Hour)); !at.IsZero() {
		t.Errorf("something to send at %v after the ack", at)
	}
}

func TestTrickleOwesOneAckPerQuestion(t *testing.T) {
	now := time.Unix(0, 0)
	var a trickle
	a.receive(message{Candidates: []string{"x", "y"}, Want: true})
	m, ok := a.next("u", now)
	if !ok || m.Ack != 2 || m.Want {
		t.Errorf("%+v, %v, want an ack that asks nothing", m, ok)
	}
	if m, ok := a.next("u", now); ok {
		t.Errorf("%+v once more", m)
	}
	a.receive(message{Candidates: []string{"x"}}) // overtaken by the one above
	a.receive(message{Want: true, Candidates: []string{"x", "y"}})
	if m, _ := a.next("u", now); m.Ack != 2 {
		t.Errorf("ack %d, want 2", m.Ack)
	}
}

func TestTrickleTellsItsEndOnce(t *testing.T) {
	now := time.Unix(0, 0)
	var a trickle
	a.ended(false)
	a.described(0, 0)
	a.ended(true)
	if m, ok := a.next("u", now); !ok || !m.End || m.Want {
		t.Errorf("%+v, %v, want the end", m, ok)
	}
	a.ended(true)
	if _, ok := a.next("u", now); ok {
		t.Error("the end was told twice")
	}
}

func TestTrickleIsBounded(t *testing.T) {
	var a trickle
	for range maxCandidates {
		if !a.add("x") {
			t.Fatal("not taken")
		}
	}
	if a.add("one more") || len(a.lines) != maxCandidates {
		t.Errorf("%d candidates", len(a.lines))
	}
	a.receive(message{Ack: maxCandidates + 1})
	if a.acked != maxCandidates {
		t.Errorf("acked %d of %d", a.acked, maxCandidates)
	}
}
