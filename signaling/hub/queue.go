package hub

import (
	"slices"
	"sync"

	"github.com/p2ptun/p2ptun/signaling"
)

// A queue is what waits for one connection's writer. Sealed messages may be
// lost: their senders repeat what matters, so the oldest make room. Control
// frames may not: a node that does not take them is cut off, and learns all
// when it comes again. It is safe for concurrent use and never blocks.
type queue struct {
	wake func() // called when next has something, with mu held: it must not block

	mu      sync.Mutex // guards what follows
	control []item
	signals []item
	size    int  // bytes sealed in signals
	changed bool // the records did
	ended   bool // nothing more is taken
}

// item is one thing the writer does.
type item struct {
	message signaling.Message // send it
	last    bool              // and end the connection
	records bool              // send the records that changed
	since   *uint64           // send all records after this sequence
	upgrade bool              // the joiner became a member
}

const (
	maxControl     = 512
	maxSignals     = 256
	maxSignalBytes = 1 << 20
)

func newQueue(wake func()) *queue { return &queue{wake: wake} }

// push adds a control item. When there is no room the connection ends.
func (q *queue) push(it item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.control) >= maxControl && !it.last {
		it = item{last: true, message: &signaling.Error{Code: signaling.CodeLimit, Message: "the node does not read what it is sent"}}
	}
	q.pushLocked(it)
}

func (q *queue) pushLocked(it item) {
	if q.ended {
		return
	}
	if it.last {
		q.control, q.signals, q.size, q.changed, q.ended = nil, nil, 0, false, true
	}
	if n := len(q.control); n > 0 && mergePresence(&q.control[n-1], it) {
		return
	}
	q.control = append(q.control, it)
	q.wake()
}

// mergePresence adds it to the waiting one, if both only bring or only take
// nodes: when many come at once, a slow reader gets few frames.
func mergePresence(waiting *item, it item) bool {
	a, ok := waiting.message.(*signaling.Presence)
	b, ok2 := it.message.(*signaling.Presence)
	if !ok || !ok2 || len(a.Online)+len(a.Offline)+len(b.Online)+len(b.Offline) > presencePage {
		return false
	}
	onlyOnline := len(a.Offline)+len(b.Offline) == 0
	onlyOffline := len(a.Online)+len(b.Online) == 0
	if !onlyOnline && !onlyOffline {
		return false
	}
	// Others hold a and b too: make a new one.
	waiting.message = &signaling.Presence{Online: slices.Concat(a.Online, b.Online), Offline: slices.Concat(a.Offline, b.Offline)}
	return true
}

// finish makes e the last thing that is sent, ahead of all that waits.
func (q *queue) finish(e *signaling.Error) { q.push(item{message: e, last: true}) }

// signal adds a message with that many sealed bytes. It says how many older
// ones had to go.
func (q *queue) signal(m signaling.Message, size int) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return 0
	}
	q.signals = append(q.signals, item{message: m})
	q.size += size
	for len(q.signals) > maxSignals || q.size > maxSignalBytes {
		q.size -= sealedSize(q.signals[0].message)
		q.signals = q.signals[1:]
		dropped++
	}
	q.wake()
	return dropped
}

func sealedSize(m signaling.Message) int {
	switch m := m.(type) {
	case *signaling.Signal:
		return len(m.Sealed)
	case *signaling.Join:
		return len(m.Sealed)
	}
	return 0
}

// recordsChanged asks for a delta; several in a row are one.
func (q *queue) recordsChanged() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.ended {
		q.changed = true
		q.wake()
	}
}

// next takes the next item: the records that changed, so that a node's record
// comes before its presence, then control, then sealed messages.
func (q *queue) next() (item, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.changed:
		q.changed = false
		return item{records: true}, true
	case len(q.control) > 0:
		it := q.control[0]
		q.control = q.control[1:]
		return it, true
	case len(q.signals) > 0:
		it := q.signals[0]
		q.signals = q.signals[1:]
		q.size -= sealedSize(it.message)
		return it, true
	}
	return item{}, false
}

// finished says whether the last item was pushed.
func (q *queue) finished() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ended
}
