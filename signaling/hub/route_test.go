package hub

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

func TestSignalsInOrder(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	a, b := newMember(t, network, 1), newMember(t, network, 2)
	ca, cb := connect(t, h, a), connect(t, h, b)
	const n = 200
	for i := range n {
		ca.send(&signaling.Signal{From: b.node(), To: b.node(), Sealed: fmt.Append(nil, i)})
	}
	for i := range n {
		m := expect[*signaling.Signal](cb)
		if want := fmt.Sprint(i); string(m.Sealed) != want || m.From != a.node() || m.To != b.node() {
			t.Fatalf("got %q from %v, want %q from %v", m.Sealed, m.From, want, a.node())
		}
	}
}

func TestSignalsStayInTheNetwork(t *testing.T) {
	h := startHub(t, Config{})
	a := newMember(t, config.NewNetworkKey(), 1)
	b := newMember(t, config.NewNetworkKey(), 2)
	ca, cb := connect(t, h, a), connect(t, h, b)
	ca.send(&signaling.Signal{To: b.node(), Sealed: []byte("x")})
	if e := ca.expectError(signaling.CodeOffline); e.To == nil || *e.To != b.node() {
		t.Errorf("offline: got %v, want %v", e.To, b.node())
	}
	// The connection stays, and b got nothing.
	cb.send(&signaling.Signal{To: b.node(), Sealed: []byte("self")})
	if m := expect[*signaling.Signal](cb); string(m.Sealed) != "self" {
		t.Errorf("b got %q", m.Sealed)
	}
	ca.settled()
}

func TestSealedTooLong(t *testing.T) {
	h := startHub(t, Config{})
	c := connect(t, h, newMember(t, config.NewNetworkKey(), 1))
	c.send(&signaling.Signal{To: config.NewNodeKey().Public(), Sealed: make([]byte, signaling.MaxSealed+1)})
	c.expectError(signaling.CodeProtocol)
}

func TestUnknownFramesAreIgnored(t *testing.T) {
	h := startHub(t, Config{})
	c := connect(t, h, newMember(t, config.NewNetworkKey(), 1))
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"of-tomorrow","x":1}`)); err != nil {
		t.Fatal(err)
	}
	c.settled()
	c.send(&signaling.Welcome{})
	c.expectError(signaling.CodeProtocol)
}

func TestPresence(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	a, b := newMember(t, network, 1), newMember(t, network, 2)
	elsewhere := connect(t, h, newMember(t, config.NewNetworkKey(), 3))
	ca := connect(t, h, a)

	cb := dial(t, h).hello(b)
	_, online, _ := cb.greeting(true)
	if len(online) != 1 || online[0].Node != a.node() || !online[0].Verify(network.Public().ID()) {
		t.Fatalf("b sees %v online, want a with its signature", online)
	}
	// a had b's record first, then its presence.
	if m := expect[*signaling.Members](ca); len(m.Statements) != 1 || !bytes.Equal(m.Statements[0], b.record.Bytes()) {
		t.Fatalf("a got %d records, want b's", len(m.Statements))
	}
	p := expect[*signaling.Presence](ca)
	if len(p.Online) != 1 || p.Online[0].Node != b.node() || p.Online[0].Epoch != b.epoch || !p.Online[0].Verify(network.Public().ID()) {
		t.Fatalf("a got %+v, want b online", p)
	}
	cb.ws.Close()
	if p := expect[*signaling.Presence](ca); len(p.Offline) != 1 || p.Offline[0] != b.node() || len(p.Online) != 0 {
		t.Fatalf("a got %+v, want b offline", p)
	}
	// Another network sees nothing: its next frame is the answer to its own.
	elsewhere.send(&signaling.Signal{To: config.NewNodeKey().Public()})
	elsewhere.expectError(signaling.CodeOffline)
}

// The same node again takes the older connection's place; the others see only
// its new epoch.
func TestReplaced(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	a, b := newMember(t, network, 1), newMember(t, network, 2)
	cb1 := connect(t, h, b)
	ca := connect(t, h, a)

	expect[*signaling.Members](cb1)  // a's record
	expect[*signaling.Presence](cb1) // a
	b.epoch++
	cb2 := connect(t, h, b)
	cb1.expectError(signaling.CodeReplaced)

	p := expect[*signaling.Presence](ca)
	if len(p.Offline) != 0 || len(p.Online) != 1 || p.Online[0].Epoch != b.epoch {
		t.Fatalf("a got %+v, want b's new epoch alone", p)
	}
	ca.send(&signaling.Signal{To: b.node(), Sealed: []byte("new")})
	if m := expect[*signaling.Signal](cb2); string(m.Sealed) != "new" {
		t.Errorf("got %q", m.Sealed)
	}
	// The older connection's end changes nothing: the next frame a gets is
	// the answer to its own.
	ca.send(&signaling.Signal{To: b.node(), Sealed: []byte("again")})
	expect[*signaling.Signal](cb2)
	ca.send(&signaling.Signal{To: config.NewNodeKey().Public()})
	ca.expectError(signaling.CodeOffline)
}

// A node that does not read costs its own oldest messages, nobody else's.
func TestSlowReader(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	a, b, slow := newMember(t, network, 1), newMember(t, network, 2), newMember(t, network, 3)
	cs := connect(t, h, slow)
	cb := connect(t, h, b)
	ca := connect(t, h, a)
	expect[*signaling.Members](cb)
	expect[*signaling.Presence](cb)

	sealed := make([]byte, signaling.MaxSealed)
	const n = 190 // 10 MB: more than the kernel's buffers hold
	for i := range n {
		sealed[0], sealed[1] = byte(i>>8), byte(i)
		ca.send(&signaling.Signal{To: slow.node(), Sealed: sealed})
		ca.send(&signaling.Signal{To: b.node(), Sealed: sealed[:2]})
		if m := expect[*signaling.Signal](cb); !bytes.Equal(m.Sealed, sealed[:2]) {
			t.Fatalf("message %d: got %x", i, m.Sealed)
		}
	}
	if h.drops.signals.Load() == 0 {
		t.Error("nothing was dropped for the slow reader")
	}
	// What it reads at last is in order and ends with the newest.
	last := -1
	for last != n-1 {
		m, err := cs.read()
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := m.(*signaling.Signal); ok {
			i := int(s.Sealed[0])<<8 | int(s.Sealed[1])
			if i <= last {
				t.Fatalf("message %d after %d", i, last)
			}
			last = i
		}
	}
}

func TestQueueCutsOffWhoDoesNotTakeControlFrames(t *testing.T) {
	q := newQueue(func() {})
	for range maxControl + 1 {
		q.push(item{message: &signaling.Credentials{}})
	}
	it, ok := q.next()
	e, isError := it.message.(*signaling.Error)
	if !ok || !it.last || !isError || e.Code != signaling.CodeLimit {
		t.Fatalf("got %+v, want the last frame with code %q", it, signaling.CodeLimit)
	}
	q.push(item{message: &signaling.Credentials{}})
	q.signal(&signaling.Signal{}, 0)
	q.recordsChanged()
	if it, ok := q.next(); ok {
		t.Errorf("after the last item: %+v", it)
	}
}

func TestQueueMergesPresence(t *testing.T) {
	q := newQueue(func() {})
	node := func(n byte) config.NodeKey { return config.NodeKey{n} }
	push := func(p signaling.Presence) { q.push(item{message: &p}) }
	push(signaling.Presence{Online: []signaling.Online{{Node: node(1)}}})
	push(signaling.Presence{Online: []signaling.Online{{Node: node(2)}}})
	push(signaling.Presence{Offline: []config.NodeKey{node(1)}})
	push(signaling.Presence{Offline: []config.NodeKey{node(2)}})
	push(signaling.Presence{Online: []signaling.Online{{Node: node(1)}}})
	var got []string
	for it, ok := q.next(); ok; it, ok = q.next() {
		p := it.message.(*signaling.Presence)
		got = append(got, fmt.Sprintf("+%d-%d", len(p.Online), len(p.Offline)))
	}
	if want := "[+2-0 +0-2 +1-0]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
