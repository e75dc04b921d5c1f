package peer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEventsAreTheNewest(t *testing.T) {
	start := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var e Events
	if got := e.List(); len(got) != 0 {
		t.Fatalf("%v at first", got)
	}
	for i := range 14 {
		e.Add(at(i), fmt.Sprint("event ", i))
	}
	e.Add(at(14), "handshake")
	e.Add(at(15), "handshake")
	e.Add(at(16), "handshake")
	got := e.List()
	if len(got) != maxEvents || got[0].Text != "event 5" {
		t.Errorf("%d events from %q on, want %d from event 5", len(got), got[0].Text, maxEvents)
	}
	if want := (Event{Time: at(16), Text: "handshake", Count: 3, First: at(14)}); got[len(got)-1] != want {
		t.Errorf("last %+v, want %+v", got[len(got)-1], want)
	}
	got[0].Text = "mine"
	if e.List()[0].Text == "mine" {
		t.Error("the list is not the caller's")
	}
}

// texts are the events' so far.
func texts(e *Events) (all []string) {
	for _, ev := range e.List() {
		all = append(all, ev.Text)
	}
	return all
}

// inOrder says whether there is an event with each beginning, in that order.
func inOrder(e *Events, want ...string) bool {
	for _, text := range texts(e) {
		if len(want) > 0 && strings.HasPrefix(text, want[0]) {
			want = want[1:]
		}
	}
	return len(want) == 0
}

// TestEventsTellTheStory: of two sessions one after the other, as each side saw it.
func TestEventsTellTheStory(t *testing.T) {
	inLab(t, func(l *lab) {
		events := [2]*Events{new(Events), new(Events)}
		k := l.pair(port(l), port(l), func(a, b *Config) { a.Events, b.Events = events[0], events[1] })
		k.online()
		k.connected(l, PathDirect, time.Second)
		l.until(5*time.Second, "nominated", func() bool { return k.a.Snapshot().ICE == "completed" && k.b.Snapshot().ICE == "completed" })
		if !inOrder(events[0], "session offered: peer is online", "session answered by the peer", "path: none → ", "nominated: direct at ") {
			t.Errorf("the offerer tells %q", texts(events[0]))
		}
		if !inOrder(events[1], "session offered by the peer, answered", "path: none → ", "nominated: direct at ") {
			t.Errorf("the answerer tells %q", texts(events[1]))
		}
		k.b.stop()
		l.until(time.Second, "told", func() bool { return inOrder(events[0], "nominated", "session ended by the peer") })
		before := len(events[1].List())
		k.restart(k.b, k.a)
		k.a.SetOnline(true, k.b.self.Epoch)
		k.b.SetOnline(true, k.a.self.Epoch)
		l.until(5*time.Second, "told", func() bool {
			return inOrder(events[0], "session ended by the peer", "session offered: ", "session answered")
		})
		if got := len(events[1].List()); got != before {
			t.Errorf("another run's events are among those of the first: %q", texts(events[1]))
		}
	})
}

// TestPathEvents: a move of the path says from where, to where.
func TestPathEvents(t *testing.T) {
	inLab(t, func(l *lab) {
		l.lose(direct)
		events := new(Events)
		k := l.pair(port(l), port(l), func(a, _ *Config) { a.Events = events })
		k.online()
		k.connected(l, PathRelayed, time.Second)
		if s := k.a.Snapshot(); s.Relayed.IsZero() || s.DirectValid {
			t.Errorf("%+v, want relayed for a while, and no direct answer", s)
		}
		l.lose(nil)
		k.connected(l, PathDirect, time.Minute)
		i := slices.IndexFunc(events.List(), func(e Event) bool {
			return strings.HasPrefix(e.Text, "path: relayed ") && strings.Contains(e.Text, " → direct at ") && strings.Contains(e.Text, "ms")
		})
		if i < 0 {
			t.Errorf("no move to the direct path in %q", texts(events))
		}
		if s := k.a.Snapshot(); !s.Relayed.IsZero() {
			t.Errorf("relayed since %v on a direct path", s.Relayed)
		}
	})
}
