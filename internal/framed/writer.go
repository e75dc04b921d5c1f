package framed

import (
	"io"
	"net"
	"sync"
	"time"
)

const (
	// maxWait is how long a message waits for the stream at most. Who sends packets
	// has to learn that they are too many, and a tunnel that is seconds behind is of
	// no use; a loss that the stream makes good takes a round trip or two.
	maxWait = 100 * time.Millisecond

	// maxQueue bounds what waits, in bytes, where much comes at once. Messages of up
	// to smallSize find room beyond, for a while: they ask, or answer, and what fills
	// the queue is not them.
	maxQueue  = 1 << 20
	smallRoom = 64 << 10
	smallSize = 256

	// maxWrite is how much goes at a time: two records of TLS. What is written has
	// left the queue, and cannot be dropped any more.
	maxWrite = 32 << 10

	// maxKept is the most memory that a Writer keeps while nothing waits, in bytes:
	// what a flow has in flight comes again at once.
	maxKept = 256 << 10

	// writeTimeout is how long a write may take: who takes nothing for so long is
	// gone.
	writeTimeout = 10 * time.Second
)

// Writer puts messages on a stream, many at a time. It never blocks who sends:
// what has waited too long is dropped, and what finds the queue full. Send is safe for concurrent
// use.
type Writer struct {
	to    io.Writer
	ready chan struct{} // something waits

	mu      sync.Mutex // guards all below
	queue   []byte     // messages, one after the other
	head    int        // of queue is gone
	waiting []message  // their lengths
	gone    int        // of waiting
	late    uint64
}

type message struct {
	size int // padded
	at   time.Duration
}

// start makes times cheap: the clock is looked at for each message.
var start = time.Now()

// NewWriter returns a Writer. Nothing leaves before Run.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to, ready: make(chan struct{}, 1)} }

// Send has a message sent, that may be in two pieces, and keeps neither. It
// reports false for one that was dropped at once.
func (w *Writer) Send(head, rest []byte) bool {
	n := len(head) + len(rest)
	padded := (n + 3) &^ 3
	w.mu.Lock()
	room := maxQueue
	if padded <= smallSize {
		room += smallRoom
	}
	if padded > MaxMessage || len(w.queue)-w.head+padded > room {
		w.mu.Unlock()
		return false
	}
	w.queue = append(append(w.queue, head...), rest...)
	w.queue = append(w.queue, zeros[:padded-n]...)
	w.waiting = append(w.waiting, message{padded, time.Since(start)})
	first := len(w.waiting)-w.gone == 1
	w.mu.Unlock()
	if first {
		select {
		case w.ready <- struct{}{}:
		default:
		}
	}
	return true
}

var zeros [3]byte

// Late is how many messages were dropped that Send had taken: they waited too long.
func (w *Writer) Late() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.late
}

// Waiting is how much waits, in bytes.
func (w *Writer) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue) - w.head
}

// Run writes until done is closed, which returns nil, or the stream breaks: a net.Conn
// that takes nothing for 10 s does.
func (w *Writer) Run(done <-chan struct{}) error {
	out := make([]byte, 0, maxWrite)
	conn, deadlines := w.to.(net.Conn)
	for {
		select {
		case <-done:
			return nil
		case <-w.ready:
		}
		for out = w.take(out[:0], time.Since(start)); len(out) > 0; out = w.take(out[:0], time.Since(start)) {
			if deadlines {
				if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
					return err
				}
			}
			if _, err := w.to.Write(out); err != nil {
				return err
			}
		}
	}
}

// take moves what is to be written next to out.
func (w *Writer) take(out []byte, now time.Duration) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	from := w.head
	for w.gone < len(w.waiting) && now-w.waiting[w.gone].at > maxWait {
		from += w.waiting[w.gone].size
		w.gone++
		w.late++
	}
	w.head = from
	for w.gone < len(w.waiting) && w.head+w.waiting[w.gone].size-from <= maxWrite {
		w.head += w.waiting[w.gone].size
		w.gone++
	}
	out = append(out, w.queue[from:w.head]...)
	w.compact()
	return out
}

// compact gives room that is gone to what is to come, when that is about half: so
// that each byte is moved once. A burst's memory is not kept.
func (w *Writer) compact() {
	switch {
	case w.gone == len(w.waiting) && cap(w.queue) > maxKept:
		w.queue, w.waiting = nil, nil
	case 2*w.head < len(w.queue):
		return
	default:
		w.queue = w.queue[:copy(w.queue, w.queue[w.head:])]
		w.waiting = w.waiting[:copy(w.waiting, w.waiting[w.gone:])]
	}
	w.head, w.gone = 0, 0
}
