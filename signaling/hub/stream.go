package hub

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/internal/framed"
	"github.com/p2ptun/p2ptun/internal/udpbatch"
)

// stream is one client of the relay that comes over TCP, TLS or a WebSocket (RFC
// 8656 section 2.1): a front of its own, with a pion/turn server for it alone. What
// reaches that is a whole STUN message: what a stranger sends is cut, and bounded,
// before.
//
// It lives for as long as its client says something. One that has no allocation is a
// stranger, and has to get one soon.
type stream struct {
	net.Conn
	*front
	reader *framed.Reader
	writer *framed.Writer
	client netip.AddrPort
	addr   net.Addr // the client, as pion/turn has it
	timing timing
	began  time.Time
	proven bool // there has been an allocation; the reader's
}

// maxStreams at a time, of all clients together: each has some 60 KiB of buffers.
const maxStreams = 4096

// serveStream serves a client of the relay until it goes, ctx ends, or it was silent
// for too long. It closes c.
func (h *Hub) serveStream(ctx context.Context, transport string, c net.Conn) {
	defer c.Close()
	defer h.relay.streams.Add(-1)
	if h.relay.streams.Add(1) > maxStreams {
		h.drops.crowded.Add(1)
		return
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	framed.Tune(c)
	client := addrPort(c.RemoteAddr())
	s := &stream{
		Conn: c, reader: framed.NewReader(c), writer: framed.NewWriter(c),
		client: client, addr: net.UDPAddrFromAddrPort(client), timing: h.timing, began: time.Now(),
	}
	s.front = newFront(h.relay, h.relay.publicOf(client.Addr()), s)
	var writing sync.WaitGroup
	gone := make(chan struct{})
	writing.Go(func() {
		if s.writer.Run(gone) != nil {
			c.Close() // the reader notices
		}
	})
	err := s.serve(s)
	if err == nil {
		<-s.done
		err = s.err
	}
	close(gone)
	c.Close()
	writing.Wait()
	h.drops.unsent.Add(s.writer.Dropped())
	h.log.Debug("relay client gone", "transport", transport, "remote", client.String(), "err", err)
}

// publicOf is the hub's address of a client's family, or its first.
func (r *relay) publicOf(client netip.Addr) netip.Addr {
	for _, a := range r.public {
		if a.Is4() == client.Is4() {
			return a
		}
	}
	return r.public[0]
}

// ReadFrom is listener.ReadFrom for a stream. What was read at once is forwarded at
// once.
func (s *stream) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		if !s.reader.More() {
			s.flows.end()
			if err := s.await(); err != nil {
				s.finish(err)
				return 0, nil, err
			}
		}
		m, err := s.reader.Next()
		if err != nil {
			s.flows.end()
			s.finish(err)
			return 0, nil, err
		}
		s.flows.now = int64(time.Since(meterStart))
		switch {
		case isChannelData(m):
			s.forward(m, s.client)
		case isBindingRequest(m):
			s.answerBinding(m)
		default:
			return s.hand(p, m), s.addr, nil
		}
	}
}

// answerBinding answers by the stream, which cannot change an address or a port: there
// is one socket, and where it is seen from outside a proxy may know.
func (s *stream) answerBinding(request []byte) {
	server := corners{{open: true}}
	if a, ok := server.bindingReply(request, s.client, 0); ok {
		s.flows.end()
		s.writer.Send(a.raw, nil)
	}
}

// await says for how long the next message may be awaited.
func (s *stream) await() error {
	if !s.proven && s.allocation(s.client) != nil {
		s.proven = true
		proven(s.Conn)
	}
	until := s.began.Add(s.timing.hello)
	if s.proven {
		until = time.Now().Add(s.timing.dead)
	}
	return s.SetReadDeadline(until)
}

// WriteTo is for pion/turn.
func (s *stream) WriteTo(p []byte, _ net.Addr) (int, error) {
	if s.passes(p, s.client) {
		s.writer.Send(p, nil)
	}
	return len(p), nil
}

// WriteRun queues a run for the client. It does not block. What the writer drops it
// counts itself.
func (s *stream) WriteRun(r *udpbatch.Run) (sent int, err error) {
	for d := range r.All {
		s.writer.Send(d, nil)
	}
	return r.Len(), nil
}
