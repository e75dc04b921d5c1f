package behavior

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Socket is a UDP socket of one address family. ReadFrom may go on while WriteTo
// does; Close ends it with net.ErrClosed.
type Socket interface {
	Port() uint16 // local
	WriteTo(b []byte, to netip.AddrPort) error
	ReadFrom(b []byte) (int, netip.AddrPort, error)
	Close() error
}

// A request is repeated with these pauses: where every tenth packet is lost, both ways,
// one in four thousand gets no answer. The last one's answer has three round trips,
// within these bounds; the longer where no round trip is known.
var pauses = []time.Duration{100 * time.Millisecond, 150 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond}

const (
	leastFinal = 250 * time.Millisecond
	mostFinal  = 850 * time.Millisecond
)

// maxReadErrors of one socket are taken for passing ones.
const maxReadErrors = 100

// room is where the questions of several sockets wait for their answers: one may
// arrive at another socket than it was asked from. Safe for concurrent use.
type room struct {
	mu      sync.Mutex // guards all below
	waiting map[transaction]*exchange
	rtt     time.Duration // the longest of an answer; 0: none came
	sent    bool          // something could be sent
	heard   bool          // a server has answered
	address netip.Addr    // as it saw this machine
	readers sync.WaitGroup
	clients []*client
}

// client is one socket.
type client struct {
	room   *room
	socket Socket
}

// exchange is one question with its repetitions, each a transaction of its own.
type exchange struct {
	room     *room
	client   *client
	question question
	sent     map[transaction]time.Time // guarded by room.mu
	arrivals chan arrival
}

// arrival is something that belongs to an exchange.
type arrival struct {
	message
	at   *client
	from netip.AddrPort
	rtt  time.Duration
}

func newRoom() *room { return &room{waiting: make(map[transaction]*exchange)} }

// add takes a socket, which close closes.
func (r *room) add(s Socket) *client {
	c := &client{r, s}
	r.clients = append(r.clients, c)
	r.readers.Go(c.read)
	return c
}

// close ends all sockets and waits for their readers.
func (r *room) close() {
	for _, c := range r.clients {
		c.socket.Close()
	}
	r.readers.Wait()
}

// read hands on what comes until the socket is closed. An error may be that of a
// packet: an ICMP message says that nobody listens.
func (c *client) read() {
	b := make([]byte, 1500)
	for failed := 0; failed < maxReadErrors; {
		n, from, err := c.socket.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			failed++
			continue
		}
		if m, err := decode(b[:n]); err == nil && m.kind != other {
			c.room.arrived(arrival{message: m, at: c, from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())})
		}
	}
}

func (r *room) arrived(a arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.waiting[a.id]
	if x == nil {
		return
	}
	a.rtt = time.Since(x.sent[a.id])
	if a.kind != request {
		r.heard, r.rtt = true, max(r.rtt, a.rtt)
	}
	if a.kind == success {
		r.address = a.mapped.Addr()
	}
	select {
	case x.arrivals <- a:
	default: // a flood of repetitions
	}
}

// ask sends a question for the first time.
func (c *client) ask(q question) *exchange {
	x := &exchange{
		room: c.room, client: c, question: q,
		sent: make(map[transaction]time.Time), arrivals: make(chan arrival, 8),
	}
	x.send()
	return x
}

func (x *exchange) send() {
	id, b := x.question.request()
	x.room.mu.Lock()
	x.sent[id] = time.Now()
	x.room.waiting[id] = x
	x.room.mu.Unlock()
	if x.client.socket.WriteTo(b, x.question.to) == nil {
		x.room.mu.Lock()
		x.room.sent = true
		x.room.mu.Unlock()
	}
}

// await repeats the question until something comes that is wanted, and reports
// whether that did.
func (x *exchange) await(ctx context.Context, wanted func(arrival) bool) (arrival, bool) {
	defer x.forget()
	for try := 0; try <= len(pauses); try++ {
		wait := x.room.final()
		if try < len(pauses) {
			wait = pauses[try]
		}
		timer := time.NewTimer(wait)
		for waiting := true; waiting; {
			select {
			case a := <-x.arrivals:
				if wanted(a) {
					timer.Stop()
					return a, true
				}
			case <-timer.C:
				waiting = false
			case <-ctx.Done():
				timer.Stop()
				return arrival{}, false
			}
		}
		if try < len(pauses) {
			x.send()
		}
	}
	return arrival{}, false
}

// final is how long to wait for the answer to the last repetition.
func (r *room) final() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rtt == 0 {
		return mostFinal
	}
	return min(max(3*r.rtt, leastFinal), mostFinal)
}

func (x *exchange) forget() {
	x.room.mu.Lock()
	defer x.room.mu.Unlock()
	for id := range x.sent {
		delete(x.room.waiting, id)
	}
}

// answered says whether an arrival is the answer that the question asked for. A
// server that does not know CHANGE-REQUEST and answers all the same has not changed
// anything; a refusal comes from where the question went.
func (q question) answered(a arrival) bool {
	switch {
	case a.kind == refusal:
		return a.from == q.to
	case a.kind != success:
		return false
	}
	return (a.from.Addr() != q.to.Addr()) == (q.change&changeAddr != 0) &&
		(a.from.Port() != q.to.Port()) == (q.change&changePort != 0)
}

// answer awaits the answer, a success or a refusal.
func (x *exchange) answer(ctx context.Context) (arrival, bool) {
	return x.await(ctx, func(a arrival) bool { return a.at == x.client && x.question.answered(a) })
}
