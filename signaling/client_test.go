package signaling

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
)

func TestClientHandshake(t *testing.T) {
	sent := false
	prepare := func(l *hubLab) {
		l.credit = Credential{Proof: [][]byte{[]byte("record")}, Access: []byte("access"), Ticket: []byte("ticket"), Since: 7}
		l.onEvent = func(m Message) {
			if _, ok := m.(*Welcome); ok {
				sent = l.client.Send(&Members{Statements: [][]byte{[]byte("mine")}})
			}
		}
	}
	inHubLab(t, 1, prepare, func(l *hubLab) {
		c := l.answer()
		if !c.shake.VerifyHello(c.hello.Signature) {
			t.Error("the hello's signature is not valid")
		}
		online := Online{Node: c.hello.Node, Epoch: c.hello.Epoch, Signature: c.hello.Presence}
		if c.hello.Node != l.client.cfg.Self.Node.Public() || !online.Verify(testNetwork.Public().ID()) {
			t.Error("the hello's node or presence is not valid")
		}
		h := c.hello
		if string(h.Proof[0]) != "record" || string(h.Ticket) != "ticket" || h.Since != 7 {
			t.Errorf("hello %+v", h)
		}
		if !bytes.Equal(h.Access, c.shake.AccessProof([]byte("access"))) || bytes.Contains(h.Access, []byte("access")) {
			t.Errorf("access %x, want its proof", h.Access)
		}
		if !sent {
			t.Error("Send failed while the Welcome was delivered")
		} else if m, ok := c.read().(*Members); !ok || string(m.Statements[0]) != "mine" {
			t.Errorf("the frame sent on the Welcome came as %+v", m)
		}
	})
}

func TestClientRefusesAFalseHub(t *testing.T) {
	var old *Welcome // of an earlier connection
	for _, c := range []struct {
		name string
		hub  func(*hubConn)
		want string
	}{
		{"another identity", func(c *hubConn) { c.challenge(config.NewHubKey().Public()) }, "another hub took its address"},
		{"short nonce", func(c *hubConn) { c.send(&Challenge{Nonce: []byte{1}, Hub: c.key.Public()}) }, "a nonce of 1 bytes"},
		{"unsigned welcome", func(c *hubConn) {
			c.challenge(c.key.Public())
			c.readHello()
			c.send(&Welcome{})
		}, ErrSignature.Error()},
		{"welcome signed by another", func(c *hubConn) {
			c.challenge(c.key.Public())
			c.readHello()
			c.send(&Welcome{Signature: c.shake.SignWelcome(config.NewHubKey())})
		}, ErrSignature.Error()},
		{"welcome of another connection", func(c *hubConn) {
			c.challenge(c.key.Public())
			c.readHello()
			other := c.shake
			other.NodeNonce = make([]byte, NonceSize)
			old = &Welcome{Signature: other.SignWelcome(c.key)}
			c.send(old)
		}, ErrSignature.Error()},
		{"welcome at once", func(c *hubConn) { c.send(&Welcome{}) }, "got welcome, want challenge"},
		{"silent", func(c *hubConn) { time.Sleep(dialTimeout) }, "timeout"},
		{"garbage", func(c *hubConn) { writeFrame(c.ws, []byte("garbage")) }, "handshake with the hub: frame"},
		{"unknown frames only", func(c *hubConn) { writeFrame(c.ws, []byte(`{"type":"weather"}`)) }, "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inHubLab(t, 1, nil, func(l *hubLab) {
				conn := l.accept()
				c.hub(conn)
				if err := l.down(); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				if l.client.Send(&Credentials{}) {
					t.Error("Send succeeded without a hub")
				}
			})
		})
	}
}

func TestClientIsRefused(t *testing.T) {
	inHubLab(t, 1, nil, func(l *hubLab) {
		c := l.accept()
		c.challenge(l.key.Public())
		c.readHello()
		c.send(&Error{Code: CodeUsed, Message: "the invite was used"})
		c.ws.Close()
		var e *Error
		if err := l.down(); !errors.As(err, &e) || e.Code != CodeUsed {
			t.Errorf("%v, want the hub's refusal", err)
		}
		l.answer().ws.Close() // it tries again all the same
	})
}

func TestClientDeliversInOrder(t *testing.T) {
	inHubLab(t, 1, nil, func(l *hubLab) {
		c := l.answer()
		for i := range uint64(10) {
			c.send(&Members{Sequence: i})
			writeFrame(c.ws, []byte(`{"type":"weather"}`)) // of a newer hub
		}
		for i := range uint64(10) {
			if m, ok := l.next().(*Members); !ok || m.Sequence != i {
				t.Fatalf("frame %d came as %+v", i, m)
			}
		}
		for i := range uint64(10) {
			if !l.client.Send(&Members{Sequence: i}) {
				t.Fatal("not sent")
			}
		}
		for i := range uint64(10) {
			if m, ok := c.read().(*Members); !ok || m.Sequence != i {
				t.Fatalf("frame %d arrived as %+v", i, m)
			}
		}
	})
}

func TestClientEndsABadConnection(t *testing.T) {
	for name, frame := range map[string][]byte{
		"malformed": []byte(`{"type":1}`),
		"too long":  append([]byte(`{"type":"error","message":"`), bytes.Repeat([]byte("x"), MaxFrame)...),
	} {
		t.Run(name, func(t *testing.T) {
			inHubLab(t, 1, nil, func(l *hubLab) {
				c := l.answer()
				c.serve()
				writeFrame(c.ws, frame)
				if err := l.down(); err == nil || !strings.Contains(err.Error(), "connection to the hub") {
					t.Errorf("down: %v", err)
				}
				l.answer().ws.Close()
			})
		})
	}
}

// A connection stands as long as the hub answers, and no longer.
func TestClientNoticesADeadConnection(t *testing.T) {
	inHubLab(t, 1, nil, func(l *hubLab) {
		c := l.answer()
		dead := make(chan struct{})
		c.ws.SetPingHandler(func(string) error {
			select {
			case <-dead:
				return nil
			default:
				return c.ws.WriteControl(websocket.PongMessage, nil, time.Now().Add(time.Second))
			}
		})
		c.serve()
		time.Sleep(time.Hour) // virtual
		select {
		case m := <-l.events:
			t.Fatalf("an idle connection: %+v", m)
		default:
		}
		close(dead)
		since := time.Now()
		err := l.down()
		if took := time.Since(since); err == nil || took > deadAfter {
			t.Errorf("down after %v: %v, want within %v", took, err, deadAfter)
		}
		if l.client.Send(&Credentials{}) {
			t.Error("Send succeeded on a dead connection")
		}
	})
}

func TestClientBacksOff(t *testing.T) {
	refuse := errors.New("connection refused")
	inHubLab(t, 1, func(l *hubLab) { l.dialErr = refuse }, func(l *hubLab) {
		last, backoff := (<-l.dials).at, backoffMin
		for n := range 12 {
			if err := l.down(); !errors.Is(err, refuse) {
				t.Fatalf("down: %v", err)
			}
			at := (<-l.dials).at
			if gap := at - last; gap < backoff/2 || gap > backoff/2+backoff {
				t.Errorf("pause %d was %v, want %v to %v", n, gap, backoff/2, backoff/2+backoff)
			}
			last, backoff = at, min(2*backoff, backoffMax)
		}
		for range 1000 { // suspicions hurry it a little, no more
			l.client.Probe()
			time.Sleep(10 * time.Millisecond)
		}
		for tries := 0; ; tries++ {
			if len(l.dials) == 0 {
				if tries < 8 || tries > 22 {
					t.Errorf("%d tries in 10 s of suspicion, want one or two each second", tries)
				}
				break
			}
			<-l.dials
		}
		synctest.Wait()
		before := time.Now()
		l.client.Moved(nil) // no connection: not asked
		<-l.dials
		if gap := time.Since(before); gap != 0 {
			t.Errorf("a change of network ended the pause after %v", gap)
		}
	})
}

// A connection from an address that the machine has no more is given up when
// that is told, any other is kept.
func TestClientMoves(t *testing.T) {
	local, other := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.10")
	inHubLab(t, 1, nil, func(l *hubLab) {
		for _, from := range []netip.Addr{{}, local} {
			l.answer()
			synctest.Wait()
			l.client.link.Load().local = from // a pipe has no address
			l.client.Moved(func(a netip.Addr) bool { return a == local || a == other })
			synctest.Wait()
			if l.client.link.Load() == nil {
				t.Fatalf("gave the connection from %v up", from)
			}
			l.client.link.Load().local = local
			l.client.Moved(func(a netip.Addr) bool { return a == other })
			before := time.Now()
			l.down()
			if took := time.Since(before); took != 0 {
				t.Errorf("noticed after %v", took)
			}
		}
		l.answer() // and it is back
	})
}

// After a connection that stood the pauses are short again.
func TestClientComesBackSoon(t *testing.T) {
	inHubLab(t, 1, nil, func(l *hubLab) {
		for range 3 {
			c := l.answer()
			<-l.dials
			c.ws.Close()
			lost := time.Now()
			l.down()
			c = l.accept()
			if pause := time.Since(lost); pause > backoffMin*3/2 {
				t.Errorf("a pause of %v, want at most %v", pause, backoffMin*3/2)
			}
			c.ws.Close()
			l.down()
			<-l.dials
		}
	})
}

// All addresses of the hub are tried before any pause, and the one that
// worked is the first next time.
func TestClientTriesAllAddresses(t *testing.T) {
	refuse := errors.New("connection refused")
	inHubLab(t, 3, func(l *hubLab) { l.dialErr = refuse }, func(l *hubLab) {
		got := []dial{<-l.dials, <-l.dials, <-l.dials}
		if want := []dial{{"192.0.2.1:1", 0}, {"192.0.2.2:2", 0}, {"192.0.2.3:3", 0}}; !slices.Equal(got, want) {
			t.Errorf("dialed %v, want %v", got, want)
		}
		if d := <-l.dials; d.addr != "192.0.2.1:1" || d.at < backoffMin/2 {
			t.Errorf("then %v, want the first after a pause", d)
		}
	})
	inHubLab(t, 3, nil, func(l *hubLab) {
		l.accept().ws.Close()
		l.answer().ws.Close() // nothing was said of the first
		l.down()
		l.answer().ws.Close()
		for _, want := range []string{"192.0.2.1:1", "192.0.2.2:2", "192.0.2.2:2"} {
			if d := <-l.dials; d.addr != want {
				t.Errorf("dialed %s, want %s", d.addr, want)
			}
		}
	})
}

func TestClientSend(t *testing.T) {
	inHubLab(t, 1, nil, func(l *hubLab) {
		if l.client.Send(&Credentials{}) {
			t.Error("sent before there was a connection")
		}
		c := l.answer()
		if l.client.Send(&Signal{Sealed: make([]byte, MaxFrame)}) {
			t.Error("sent a frame that is too long")
		}
		sent := 0
		for l.client.Send(&Members{Sequence: uint64(sent)}) {
			if sent++; sent > 2*sendQueue {
				t.Fatal("the queue has no end")
			}
		}
		if sent < sendQueue {
			t.Errorf("%d frames fit, want %d", sent, sendQueue)
		}
		for i := range sent {
			if m, ok := c.read().(*Members); !ok || m.Sequence != uint64(i) {
				t.Fatalf("frame %d arrived as %+v", i, m)
			}
		}
	})
}

// Run returns at once, whatever it is doing; inHubLab checks it.
func TestClientEnds(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*hubLab)
		until   func(*hubLab)
	}{
		{"dialing", func(l *hubLab) { l.hang.Store(true) }, func(l *hubLab) { <-l.dials }},
		{"waiting", nil, func(l *hubLab) { l.accept() }},
		{"connected", nil, func(l *hubLab) { l.answer() }},
		{"writing", nil, func(l *hubLab) {
			l.answer()
			for l.client.Send(&Credentials{}) {
			}
		}},
		{"pausing", nil, func(l *hubLab) {
			l.accept().ws.Close()
			l.down()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inHubLab(t, 1, c.prepare, func(l *hubLab) {
				c.until(l)
				synctest.Wait()
			})
		})
	}
}

// TestClientOnLoopback is the client over real sockets.
func TestClientOnLoopback(t *testing.T) {
	key := config.NewHubKey()
	u := websocket.Upgrader{Subprotocols: []string{Subprotocol}}
	l := &hubLab{t: t, key: key, events: make(chan Message, 10)}
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := u.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		c := &hubConn{hubLab: l, ws: ws}
		c.challenge(key.Public())
		c.readHello()
		c.send(&Welcome{Signature: c.shake.SignWelcome(key)})
		c.read()
		c.send(&Credentials{Username: "u"})
		c.ws.ReadMessage() // until the client goes
	}))
	defer hub.Close()
	client := NewClient(ClientConfig{
		Hub:     config.Hub{URLs: []string{"ws" + strings.TrimPrefix(hub.URL, "http")}, Key: key.Public()},
		Network: testNetwork.Public(), Self: newTestNode(t, "a", 1).self,
		Credential: func() Credential { return Credential{} }, Handle: func(m Message) { l.events <- m }, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	if _, ok := (<-l.events).(*Welcome); !ok || !client.Send(&Credentials{}) {
		t.Fatal("not connected")
	}
	if c, ok := (<-l.events).(*Credentials); !ok || c.Username != "u" {
		t.Errorf("credentials came as %+v", c)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
	// A goroutine that has said it is done may still be on its last line.
	var stacks []byte
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		stacks = make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(stacks, []byte("signaling.(*Client)")) {
			return
		}
	}
	t.Errorf("Run left goroutines:\n%s", stacks)
}

func TestClientMeetsSomethingElse(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"a web server": {http.NotFound, "it is no p2ptun hub"},
		"another protocol": {func(w http.ResponseWriter, r *http.Request) {
			u := websocket.Upgrader{}
			if ws, err := u.Upgrade(w, r, nil); err == nil {
				ws.Close()
			}
		}, "does not speak p2ptun.v1"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			hub := config.Hub{URLs: []string{"ws" + strings.TrimPrefix(server.URL, "http")}}
			client := NewClient(ClientConfig{Hub: hub, Self: newTestNode(t, "a", 1).self})
			_, err := client.reach(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// Of two machines that say they are one node, each waits for minutes, at
// random; the word of the hub is what is told, not the end that follows it.
func TestClientThatWasCopied(t *testing.T) {
	pauses := make(map[time.Duration]bool)
	inHubLab(t, 1, nil, func(l *hubLab) {
		for range 5 {
			c := l.answer()
			c.send(&Error{Code: CodeOffline, To: &config.NodeKey{}}) // about another: not the end
			c.send(&Error{Code: CodeCopied, Message: "copied"})
			c.ws.Close()
			l.next()
			l.next()
			var e *Error
			if err := l.down(); !errors.As(err, &e) || e.Code != CodeCopied {
				t.Fatalf("%v, want the hub's word", err)
			}
			<-l.dials
			ended := time.Now()
			next := l.accept()
			pause := time.Since(ended)
			if pause < copiedMin || pause > copiedMax {
				t.Errorf("tried again after %v, want %v to %v", pause, copiedMin, copiedMax)
			}
			pauses[pause] = true
			next.ws.Close() // any other end: a short pause
			l.down()
		}
	})
	if len(pauses) < 2 {
		t.Errorf("the same pause each time: %v", pauses)
	}
}

func TestClientTellsWhyItWasCutOff(t *testing.T) {
	inHubLab(t, 1, nil, func(l *hubLab) {
		c := l.answer()
		c.send(&Error{Code: CodeOffline, To: &config.NodeKey{}})
		l.next()
		c.ws.Close()
		if err := l.down(); errors.As(err, new(*Error)) {
			t.Errorf("%v: a signal's error is not the end's reason", err)
		}
		c = l.answer()
		c.send(&Error{Code: CodeRevoked, Message: "revoked"})
		l.next()
		c.ws.Close()
		var e *Error
		if err := l.down(); !errors.As(err, &e) || e.Code != CodeRevoked {
			t.Errorf("%v, want the hub's word", err)
		}
	})
}
