package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"golang.org/x/time/rate"
)

// conn is one node's WebSocket. After the handshake two goroutines share it,
// of which the writer is there only while it has something to write:
//
//	reader: socket ─► handle ─► Store, Bus          (route.go)
//	writer: socket ◄─ Store pages, queue ◄─ Bus     (writer.go)
//
// Most nodes are idle most of the time, and memory is what bounds how many a
// hub takes: an idle one has the reader alone, on the smallest stack. What the
// handshake sets stays as it is; the rest has the owner named.
type conn struct {
	hub    *Hub
	ws     *websocket.Conn
	remote netip.AddrPort // the node's own, invalid behind a proxy
	log    *slog.Logger
	queue  *queue
	early  string // the hello that came with the request, until it is handled; "": none did
	known  func() // called when the node is a member, or gone; may be called again

	shake  signaling.Handshake
	online signaling.Online
	keeper config.NodeKey // a joiner's
	roster *roster        // the network's
	unuse  func()         // of roster; nil before it is used
	since  uint64

	member atomic.Bool // set once, by the handshake or by the upgrade

	// The reader's.
	tickets    *rate.Limiter
	snapshots  *rate.Limiter
	statements *rate.Limiter
	owed       int       // statements to be charged for
	expires    time.Time // of the membership, as last looked up; zero: never

	wakened atomic.Bool // a writer is about to look at the queue; set until there may be one

	writer  sync.Mutex // the writer's, guards what follows
	greeted bool
	closed  bool        // there is nothing more to write to
	pingDue atomic.Bool // set by the timer
	timer   *time.Timer // of pings, then of lingering
	sent    uint64      // the last sequence of records that was sent
	release []func()    // undoes seat, watch and relay permission
}

// A node sends some ten frames to each peer it connects to.
const (
	messageRate  = 50 // per second
	messageBurst = 400

	// A keeper names its invites when it connects, and when one changes.
	ticketRate  = 2 // frames per second
	ticketBurst = 100

	// What a member may have the hub verify, and send: all of a network after
	// the hub lost its disk, then little.
	statementRate  = 200 // per second
	statementBurst = 5000
	snapshotEvery  = 10 * time.Second
	snapshotBurst  = 10

	lingerFor = time.Second // for the node to read a refusal
)

func newConn(h *Hub, ws *websocket.Conn, remote netip.AddrPort, known func()) *conn {
	c := &conn{
		hub: h, ws: ws, remote: remote, known: known,
		log:        h.log.With("remote", remote.String()),
		tickets:    rate.NewLimiter(ticketRate, ticketBurst),
		snapshots:  rate.NewLimiter(rate.Every(snapshotEvery), snapshotBurst),
		statements: rate.NewLimiter(statementRate, statementBurst),
	}
	c.wakened.Store(true)
	c.queue = newQueue(c.wake)
	return c
}

func (c *conn) network() config.NetworkKey { return c.shake.Network }
func (c *conn) node() config.NodeKey       { return c.shake.Node }

// run makes the handshake and then has another goroutine serve the connection,
// as this one's stack has grown.
func (c *conn) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { c.ws.Close() })
	err := c.handshake()
	if err != nil {
		c.hub.drops.handshakes.Add(1)
		c.log.Debug("no handshake", "err", err)
		c.sayNo(err)
	}
	if err != nil || !c.hub.conns.start(func() { c.serve(ctx, stop) }) {
		stop()
		c.end()
	}
}

// end closes the connection and lets go of what it held.
func (c *conn) end() {
	c.ws.Close() // ends a write under way, too
	c.known()
	if c.unuse != nil {
		c.unuse()
	}
}

// serve serves the connection to its end.
func (c *conn) serve(ctx context.Context, stop func() bool) {
	proven(c.ws.NetConn())
	c.log = c.log.With("network", c.network().String(), "peer", c.node().String())
	c.log.Info("connected", "member", c.member.Load())
	if c.member.Load() {
		c.known() // a joiner still counts against its source
	}

	c.hub.conns.start(c.write) // the greeting
	err := c.read(ctx)
	stop()
	c.ws.Close() // ends a write under way
	c.endWriting()
	c.end()
	c.log.Info("disconnected", "err", err)
}

// elsewhere runs f on a stack that goes with it.
func elsewhere(f func() error) error {
	done := make(chan error)
	go func() { done <- f() }()
	return <-done
}

// read handles frames until the socket ends. Once the connection is to end it
// only discards, so that the node gets to read why.
func (c *conn) read(ctx context.Context) error {
	limit := rate.NewLimiter(messageRate, messageBurst)
	alive := func() error {
		c.ws.SetReadDeadline(time.Now().Add(c.hub.timing.dead))
		if c.lapsed() {
			c.queue.finish(&signaling.Error{Code: signaling.CodeUnauthorized, Message: "the membership has expired"})
		}
		if n := min(c.owed, statementBurst); n > 0 {
			c.owed = 0
			if err := c.statements.WaitN(ctx, n); err != nil {
				return err
			}
		}
		return limit.Wait(ctx) // a node that floods waits in its own socket
	}
	c.ws.SetPongHandler(func(string) error { return alive() })
	c.ws.SetPingHandler(func(data string) error {
		// A full socket loses the pong; the node asks again.
		c.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(c.hub.timing.write))
		return alive()
	})
	for {
		kind, frame, err := c.ws.ReadMessage()
		if err != nil {
			return err
		}
		if c.queue.finished() {
			continue
		}
		if err := alive(); err != nil {
			return err
		}
		if err := elsewhere(func() error { return c.handle(kind, frame) }); err != nil {
			c.queue.finish(c.asRefusal(err))
		}
	}
}

// lapsed says whether the membership has ended meanwhile.
func (c *conn) lapsed() bool {
	if c.expires.IsZero() || time.Now().Before(c.expires) {
		return false
	}
	live := false
	err := c.roster.look(func(r *signaling.Roster) {
		if rec, ok := r.Record(c.node()); ok {
			c.expires, live = rec.Expires, rec.Live(time.Now())
		}
	})
	return err == nil && !live
}

func (c *conn) writeFrame(m signaling.Message) error {
	frame, err := signaling.Encode(m)
	if err != nil {
		return err
	}
	c.ws.SetWriteDeadline(time.Now().Add(c.hub.timing.write))
	return c.ws.WriteMessage(websocket.TextMessage, frame)
}

// refuse is an error that the node is told.
func refuse(code signaling.ErrorCode, format string, args ...any) error {
	return &signaling.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// asRefusal tells the node no more of the hub's own troubles than that there
// are some; the log has them.
func (c *conn) asRefusal(err error) *signaling.Error {
	var e *signaling.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, errFull):
		e = &signaling.Error{Code: signaling.CodeLimit, Message: "the hub takes no more of these"}
	default:
		c.log.Error("frame not handled", "err", err)
		return &signaling.Error{Code: signaling.CodeProtocol, Message: "the hub cannot do this now"}
	}
	level := slog.LevelInfo
	if !c.member.Load() {
		level = slog.LevelDebug // a stranger may come again and again
	}
	c.log.Log(context.Background(), level, "refused", "err", e)
	return e
}

// sayNo ends a connection that has no writer yet.
func (c *conn) sayNo(err error) {
	var e *signaling.Error
	if !errors.As(err, &e) || c.writeFrame(e) != nil {
		return // the socket broke, or its time was up
	}
	c.closeWrite()
	c.ws.SetReadDeadline(time.Now().Add(lingerFor))
	for {
		if _, _, err := c.ws.NextReader(); err != nil {
			return
		}
	}
}

// closeWrite tells the node that no more comes. Closing at once could reset
// the connection, and the node would lose what it has not read yet.
func (c *conn) closeWrite() {
	c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.ClosePolicyViolation, ""), time.Now().Add(lingerFor))
	if half, ok := c.ws.NetConn().(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}
