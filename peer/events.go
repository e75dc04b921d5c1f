package peer

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// maxEvents is how many events of a peer are kept: enough to tell what led to
// how things stand.
const maxEvents = 10

// Event is something that happened with a peer, in words for users. What
// happens again and again is one event.
type Event struct {
	Time  time.Time // the last
	Text  string
	Count int       // how often in a row
	First time.Time // of those
}

// Events are the newest events of one peer. They may outlive the Peer that
// they are of, to be given to the next. The zero Events is empty and ready.
// Safe for concurrent use.
type Events struct {
	mu   sync.Mutex // guards list
	list []Event    // the newest last
}

// Add notes that something has happened.
func (e *Events) Add(now time.Time, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.list); n > 0 && e.list[n-1].Text == text {
		e.list[n-1].Time = now
		e.list[n-1].Count++
		return
	}
	if len(e.list) == maxEvents {
		e.list = slices.Delete(e.list, 0, 1)
	}
	e.list = append(e.list, Event{Time: now, Text: text, Count: 1, First: now})
}

// List returns the events, the newest last.
func (e *Events) List() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

// event keeps what has happened, in words for users, and logs it, in the log's: a
// message and its attributes.
func (l *loop) event(now time.Time, level slog.Level, text, msg string, attrs ...any) {
	l.p.cfg.Events.Add(now, text)
	l.p.cfg.Log.Log(context.Background(), level, msg, attrs...)
}

// moved tells that the path was moved, from old where there was one.
func (l *loop) moved(now time.Time, old choice, had bool) {
	from := "none"
	if had {
		from = old.place()
	}
	text := fmt.Sprintf("path: %s → %s, round trip %s", from, l.path.place(), l.path.rtt.Round(100*time.Microsecond))
	l.event(now, slog.LevelInfo, text, "path", l.path.attrs()...)
	if !had || old.direct() {
		l.story.relayed = now
	}
}

// nominated tells that the agents have nominated a pair, which may be another than
// c, the path. The log has told of the path so far.
func (l *loop) nominated(now time.Time, c choice) {
	l.p.cfg.Log.Debug("pair nominated", c.attrs()...)
	n, ok := l.current.checks.nominated(now)
	if ok && n.key != l.story.nominated {
		l.story.nominated = n.key
		l.p.cfg.Events.Add(now, "nominated: "+n.place())
	}
}

// nominated returns the pair that the agent has selected.
func (s *checks) nominated(now time.Time) (choice, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pairs[s.selected]
	if p == nil {
		return choice{}, false
	}
	return s.describeLocked(s.selected, p, now), true
}

// failed tells that a session found nothing, and keeps what was tried.
func (l *loop) failed(g *generation, now time.Time) {
	s := &l.story
	s.pairs, s.checked = g.checks.count()
	l.event(now, slog.LevelDebug, fmt.Sprintf("session failed: %d pairs were checked, none answered", s.checked),
		"no way to the peer was found", "fails", l.retry.fails+1)
}

// place says for users where the pair leads.
func (c choice) place() string {
	if c.direct() {
		return "direct at " + c.key.remote.String()
	}
	if r := c.key.conn.relay; r != nil {
		return fmt.Sprintf("relayed by %s to %s", r.server, c.key.remote)
	}
	return "relayed at " + c.key.remote.String()
}
