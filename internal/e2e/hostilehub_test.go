package e2e

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/signaling"
)

// hostileHub is a hub that turned against its nodes. It is a real one taken
// apart: what a real hub would send passes here, frame by frame, and may be
// dropped, altered, held back, repeated or made up. To the nodes both are one:
// nothing in a frame after the handshake is the hub's to prove, so who stands
// here can say all that the hub could.
//
//	node ◄── WebSocket ──► hostileHub ◄── WebSocket ──► p2ptun hub
type hostileHub struct {
	Link string // that nodes are given

	host     *natlab.Host
	upstream string // the real hub's URL
	key      config.HubKey
	servers  []*http.Server
	work     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	door    door
	tamper  tamper
	seats   map[config.NodeKey]*seat
	signals []*signaling.Signal // all that nodes sent
	changed chan struct{}       // closed when one of these did, but for door and tamper
}

// door takes a connection to the i-th address of the hub in place of it, or
// says false.
type door func(i int, w http.ResponseWriter, r *http.Request) bool

// tamper returns what goes on in place of a frame, from the node (up) or to it.
type tamper func(s *seat, up bool, m signaling.Message) []signaling.Message

// seat is one node's connection.
type seat struct {
	node   config.NodeKey
	online signaling.Online // its word for its epoch

	mu     sync.Mutex // guards writes to both
	toNode *websocket.Conn
	toHub  *websocket.Conn
}

// addresses is how many addresses the hostile hub has: a node that is refused
// at one tries the next at once.
const addresses = 6

// startHostileHub starts one on the host of a hub with plain HTTP.
func startHostileHub(t *testing.T, host *natlab.Host, hub *Hub) *hostileHub {
	t.Helper()
	link, err := config.ParseHubLink(hub.Link)
	if err != nil {
		t.Fatal(err)
	}
	h := &hostileHub{host: host, upstream: link.URLs[0], key: link.Key, seats: make(map[config.NodeKey]*seat), changed: make(chan struct{})}
	link.URLs = nil
	for i := range addresses {
		l, err := host.ListenTCP(netip.AddrPort{})
		if err != nil {
			t.Fatal(err)
		}
		at := netip.AddrPortFrom(host.Addr(), uint16(l.Addr().(*net.TCPAddr).Port))
		link.URLs = append(link.URLs, "ws://"+at.String())
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.accept(i, w, r) })}
		h.servers = append(h.servers, server)
		h.work.Go(func() { server.Serve(l) })
	}
	h.Link = link.Token()
	t.Cleanup(h.close)
	return h
}

func (h *hostileHub) close() {
	for _, s := range h.servers {
		s.Close()
	}
	h.mu.Lock()
	for _, s := range h.seats {
		s.close()
	}
	h.mu.Unlock()
	h.work.Wait()
}

func (h *hostileHub) accept(i int, w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	door := h.door
	h.mu.Unlock()
	if door != nil && door(i, w, r) {
		return
	}
	toHub, err := dialHub(r.Context(), h.host, h.upstream)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	toNode, err := upgrade(w, r)
	if err != nil {
		toHub.Close()
		return
	}
	s := &seat{toNode: toNode, toHub: toHub}
	h.work.Go(func() { h.pump(s, true) })
	h.work.Go(func() { h.pump(s, false) })
}

func upgrade(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	u := websocket.Upgrader{Subprotocols: []string{signaling.Subprotocol}}
	return u.Upgrade(w, r, nil)
}

// dialHub opens a WebSocket from a host to a hub with plain HTTP.
func dialHub(ctx context.Context, host *natlab.Host, to string) (*websocket.Conn, error) {
	d := websocket.Dialer{
		Subprotocols: []string{signaling.Subprotocol},
		NetDialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			at, err := netip.ParseAddrPort(addr)
			if err != nil {
				return nil, err
			}
			return host.DialTCP(ctx, at)
		},
	}
	ws, _, err := d.DialContext(ctx, to+signaling.Path, nil)
	return ws, err
}

// pump carries one direction of a connection to its end.
func (h *hostileHub) pump(s *seat, up bool) {
	defer s.close()
	from := s.toHub
	if up {
		from = s.toNode
	}
	for {
		_, frame, err := from.ReadMessage()
		if err != nil {
			h.leave(s)
			return
		}
		m, err := signaling.Decode(frame)
		if err != nil || m == nil {
			return
		}
		for _, m := range h.pass(s, up, m) {
			if s.send(up, m) != nil {
				return
			}
		}
	}
}

// pass notes a frame and says what goes on for it.
func (h *hostileHub) pass(s *seat, up bool, m signaling.Message) []signaling.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch m := m.(type) {
	case *signaling.Hello:
		s.node, s.online = m.Node, signaling.Online{Node: m.Node, Epoch: m.Epoch, Signature: m.Presence}
	case *signaling.Welcome:
		h.seats[s.node] = s
		h.changedLocked()
	case *signaling.Signal:
		if up {
			m.From = s.node
			h.signals = append(h.signals, m)
			h.changedLocked()
		}
	}
	if h.tamper == nil {
		return []signaling.Message{m}
	}
	return h.tamper(s, up, m)
}

func (h *hostileHub) changedLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *hostileHub) leave(s *seat) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seats[s.node] == s {
		delete(h.seats, s.node)
		h.changedLocked()
	}
}

// hostile makes the hub tamper from now on; nil ends it. The function is called
// with the hub's mutex held.
func (h *hostileHub) hostile(t tamper) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tamper = t
}

// at puts something in place of the hub for new connections; nil ends it.
func (h *hostileHub) at(d door) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.door = d
}

// wait returns when cond, which is called with the mutex held, is true.
func (h *hostileHub) wait(ctx context.Context, cond func() bool) error {
	for {
		h.mu.Lock()
		ok, changed := cond(), h.changed
		h.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// seat waits for a node's.
func (h *hostileHub) seat(ctx context.Context, node config.NodeKey) (s *seat, err error) {
	err = h.wait(ctx, func() bool { s = h.seats[node]; return s != nil })
	return s, err
}

// sent returns the signals between two nodes so far, in order.
func (h *hostileHub) sent(from, to config.NodeKey) (all []*signaling.Signal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.signals {
		if m.From == from && m.To == to {
			all = append(all, m)
		}
	}
	return all
}

// send puts a frame on its way, to the hub (up) or to the node.
func (s *seat) send(up bool, m signaling.Message) error {
	frame, err := signaling.Encode(m)
	if err != nil {
		return err
	}
	return s.raw(up, frame)
}

func (s *seat) raw(up bool, frame []byte) error {
	ws := s.toNode
	if up {
		ws = s.toHub
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ws.SetWriteDeadline(time.Now().Add(5 * time.Second))
	return ws.WriteMessage(websocket.TextMessage, frame)
}

// tell sends frames to the node, as the hub's own.
func (s *seat) tell(all ...signaling.Message) error {
	var errs []error
	for _, m := range all {
		errs = append(errs, s.send(false, m))
	}
	return errors.Join(errs...)
}

func (s *seat) close() {
	s.toNode.Close()
	s.toHub.Close()
}
