package e2e

import (
	"crypto/rand"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// visits are what nodes said at a door, in the order of the hub's addresses.
type visits struct {
	mu     sync.Mutex // guards hellos
	came   [addresses]int
	hellos [addresses]int
}

// meet takes one connection and says something in place of the hub; hello is
// what the node answered, nil if nothing.
func (v *visits) meet(i int, w http.ResponseWriter, r *http.Request, say func(ws *websocket.Conn) (hello *signaling.Hello)) {
	v.note(func() { v.came[i]++ })
	ws, err := upgrade(w, r)
	if err != nil {
		return
	}
	defer ws.Close()
	if say(ws) != nil {
		v.note(func() { v.hellos[i]++ })
	}
}

func (v *visits) note(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

func (v *visits) counts() (came, hellos [addresses]int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.came, v.hellos
}

// say sends a frame and returns the node's answer, if it is a hello.
func say(ws *websocket.Conn, m signaling.Message) *signaling.Hello {
	frame, _ := signaling.Encode(m) // short
	ws.WriteMessage(websocket.TextMessage, frame)
	return heard(ws)
}

func heard(ws *websocket.Conn) *signaling.Hello {
	_, frame, err := ws.ReadMessage()
	if err != nil {
		return nil
	}
	m, _ := signaling.Decode(frame)
	hello, _ := m.(*signaling.Hello)
	return hello
}

func nonce() []byte {
	b := make([]byte, signaling.NonceSize)
	rand.Read(b)
	return b
}

// downgrades: one address of the hub offers no protocol, one an older one, one
// an older handshake, one no nonce, one another identity, one a welcome that
// the hub never signed. The node tells none but the last anything, stays with
// none, says so once, and its tunnels go on.
func (l *hostileLab) downgrades(t *testing.T) {
	var v visits
	welcome := &signaling.Welcome{Signature: make([]byte, 64), Member: true}
	l.evil.at(func(i int, w http.ResponseWriter, r *http.Request) bool {
		switch i {
		case 0, 1:
			r.Header.Del("Sec-Websocket-Protocol")
			if i == 1 {
				w.Header().Set("Sec-Websocket-Protocol", "p2ptun.v0")
			}
			v.meet(i, w, r, heard)
		case 2:
			v.meet(i, w, r, func(ws *websocket.Conn) *signaling.Hello { return say(ws, welcome) })
		case 3:
			v.meet(i, w, r, func(ws *websocket.Conn) *signaling.Hello { return say(ws, &signaling.Challenge{Hub: l.evil.key}) })
		case 4:
			v.meet(i, w, r, func(ws *websocket.Conn) *signaling.Hello {
				return say(ws, &signaling.Challenge{Nonce: nonce(), Hub: config.NewHubKey().Public()})
			})
		case 5:
			v.meet(i, w, r, func(ws *websocket.Conn) *signaling.Hello {
				hello := say(ws, &signaling.Challenge{Nonce: nonce(), Hub: l.evil.key})
				say(ws, welcome)
				return hello
			})
		}
		return true
	})
	const told = "no connection to the hub, trying again"
	before := count(l.a.Log(), told)
	l.seat(l.a).close()
	l.until(t, seconds(10), "all addresses were tried", func() bool {
		came, _ := v.counts()
		return came[addresses-1] >= 2
	})
	l.evil.at(nil)
	l.seat(l.a)
	_, hellos := v.counts()
	if last := hellos[5]; hellos != [addresses]int{5: last} || last == 0 {
		t.Errorf("hellos at the addresses: %v", hellos)
	}
	if n := count(l.a.Log(), told) - before; n != 1 {
		t.Errorf("said %d times that there is no connection, want once", n)
	}
}

// relaysHello: who stands between, or a hub itself, takes the hello of a node
// to another hub, where the network is known as well. That one does not take it.
func (l *hostileLab) relaysHello(t *testing.T) {
	hub, err := l.rig.StartHub(l.ctx, l.place("public", "hub2"), "--plain-http", "--state", filepath.Join(l.rig.Dir, "hub2"))
	if err != nil {
		t.Fatal(err)
	}
	link := must(config.ParseHubLink(hub.Link))
	answers := make(chan signaling.Message, 100)
	var v visits
	l.evil.at(func(i int, w http.ResponseWriter, r *http.Request) bool {
		second, err := dialHub(r.Context(), l.hubHost, link.URLs[0])
		if err != nil {
			t.Error(err)
			return true
		}
		defer second.Close()
		_, frame, err := second.ReadMessage()
		if err != nil {
			t.Error(err)
			return true
		}
		challenge, _ := must(signaling.Decode(frame)).(*signaling.Challenge)
		v.meet(i, w, r, func(ws *websocket.Conn) *signaling.Hello {
			if i%2 == 0 {
				challenge.Hub = l.evil.key // else as the second hub made it
			}
			hello := say(ws, challenge)
			if hello == nil {
				return nil
			}
			frame := must(signaling.Encode(hello))
			second.WriteMessage(websocket.TextMessage, frame)
			if _, frame, err = second.ReadMessage(); err == nil {
				answers <- must(signaling.Decode(frame))
				ws.WriteMessage(websocket.TextMessage, frame)
			}
			return hello
		})
		return true
	})
	l.seat(l.a).close()
	refused := 0
	for refused < 2 {
		select {
		case m := <-answers:
			e, ok := m.(*signaling.Error)
			if !ok || e.Code != signaling.CodeUnauthorized {
				t.Errorf("the second hub says %T %+v", m, m)
			}
			refused++
		case <-l.ctx.Done():
			t.Fatal(l.ctx.Err())
		}
	}
	l.evil.at(nil)
	l.seat(l.a)
	_, hellos := v.counts()
	for i, n := range hellos {
		if i%2 == 1 && n > 0 {
			t.Errorf("%d hellos to a hub with another identity", n)
		}
	}
}
