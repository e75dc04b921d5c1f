package hub

import (
	"context"
	"errors"
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
// It lives for as long as its client says something, and has an allocation. One that
// has none is a stranger's, and has to get one soon.
type stream struct {
	net.Conn
	*front
	reader *framed.Reader
	writer *framed.Writer
	client netip.AddrPort
	addr   net.Addr // the client, as pion/turn has it
	timing timing
	known  func() // it does not count against its source any more; may be called again

	// The reader owns these.
	member bool      // there has been an allocation
	last   time.Time // when there was one, or the stream began
}

const (
	// maxStreams of members at a time, all together: each has up to some 150 KiB of
	// buffers. How many strangers there are is the gate's matter.
	maxStreams = 4096

	// strangerQueue is what may wait for a stranger, in bytes.
	strangerQueue = 8 << 10
)

var (
	errStranger = errors.New("ChannelData without an allocation")
	errCrowded  = errors.New("too many streams")
)

// serveStream serves a client of the relay until it goes, ctx ends, or it was silent
// for too long. It closes c. direct says that the client's address is its own, and
// known is called when it is a member's, and at the end.
func (h *Hub) serveStream(ctx context.Context, transport string, c net.Conn, direct bool, known func()) {
	defer known()
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	framed.Tune(c)
	client := addrPort(c.RemoteAddr())
	s := &stream{
		Conn: c, reader: framed.NewReader(c), writer: framed.NewWriter(c), known: known,
		client: client, addr: net.UDPAddrFromAddrPort(client), timing: h.timing, last: time.Now(),
	}
	s.front = newFront(h.relay, h.relay.publicOf(client.Addr()), s)
	s.proxied = !direct
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
	s.close()
	if s.member {
		h.relay.streams.Add(-1)
	}
	close(gone)
	c.Close()
	writing.Wait()
	h.drops.unsent.Add(s.writer.Late())
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
		case isChannelData(m) && !s.member:
			s.finish(errStranger)
			return 0, nil, errStranger
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
		s.send(a.raw)
	}
}

// send queues a message of the hub's own. Of a stranger that reads nothing little
// waits.
func (s *stream) send(m []byte) {
	if !s.member && s.writer.Waiting() > strangerQueue || !s.writer.Send(m, nil) {
		s.relay.drops.unsent.Add(1)
	}
}

// await says for how long the next message may be awaited.
func (s *stream) await() error {
	now := time.Now()
	if s.allocation(s.client) == nil {
		return s.SetReadDeadline(s.last.Add(s.timing.hello))
	}
	s.last = now
	if !s.member {
		s.member = true
		proven(s.Conn)
		s.known()
		if s.relay.streams.Add(1) > maxStreams {
			s.relay.drops.crowded.Add(1)
			return errCrowded
		}
	}
	return s.SetReadDeadline(now.Add(s.timing.dead))
}

// WriteTo is for pion/turn.
func (s *stream) WriteTo(p []byte, _ net.Addr) (int, error) {
	if s.passes(p, s.client) {
		s.send(p)
	}
	return len(p), nil
}

// WriteRun queues a run for the client. It does not block. What is sent may still be
// dropped, see framed.Writer.Late.
func (s *stream) WriteRun(r *udpbatch.Run) (sent int, err error) {
	for d := range r.All {
		if !s.writer.Send(d, nil) {
			return sent, nil // nor what follows
		}
		sent++
	}
	return sent, nil
}
