package hub

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// delegated is a member that a delegate has admitted, with what proves it.
type delegated struct {
	*member
	proof [][]byte
}

func newDelegated(t testing.TB, network config.NetworkPrivateKey, delegate *member, n int) *delegated {
	t.Helper()
	m := newMember(t, network, n)
	delegation, err := signaling.NetworkAdmin(network).Delegate(delegate.node())
	if err != nil {
		t.Fatal(err)
	}
	r := m.record.Record
	if m.record, err = signaling.DelegateAdmin(network.Public(), delegate.key).Record(r); err != nil {
		t.Fatal(err)
	}
	return &delegated{m, [][]byte{delegation.Bytes(), m.record.Bytes()}}
}

func (d *delegated) prove(hello *signaling.Hello) { hello.Proof = d.proof }

// awaitError reads up to the next error.
func (c *wsClient) awaitError() *signaling.Error {
	c.t.Helper()
	for {
		m, err := c.read()
		if err != nil {
			c.t.Fatal(err)
		}
		if e, ok := m.(*signaling.Error); ok {
			return e
		}
	}
}

func revocation(t testing.TB, admin signaling.Admin, node config.NodeKey) []byte {
	t.Helper()
	s, err := admin.Revoke(node)
	if err != nil {
		t.Fatal(err)
	}
	return s.Bytes()
}

// A member that is revoked loses its connection, is shown why, and is let in no
// more, also by a hub that was started anew; the others hear of it.
func TestRevokedMember(t *testing.T) {
	state := t.TempDir()
	h := startHub(t, Config{State: state})
	network := config.NewNetworkKey()
	admin, victim, other := newMember(t, network, 1), newMember(t, network, 2), newMember(t, network, 3)
	ca, cv, co := connect(t, h, admin), connect(t, h, victim), connect(t, h, other)
	why := revocation(t, signaling.NetworkAdmin(network), victim.node())
	ca.send(&signaling.Members{Statements: [][]byte{why}})

	refusal := func(c *wsClient) {
		t.Helper()
		if e := c.awaitError(); e.Code != signaling.CodeRevoked || !bytes.Equal(e.Proof, why) {
			t.Errorf("refused with %v and the proof %x, want the revocation", e, e.Proof)
		}
	}
	refusal(cv)
	for {
		m, err := co.read()
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := m.(*signaling.Members); ok && slices.ContainsFunc(m.Statements, func(s []byte) bool { return bytes.Equal(s, why) }) {
			break
		}
	}
	refusal(dial(t, h).hello(victim))
	h.stop()
	h = startHub(t, Config{State: state})
	refusal(dial(t, h).hello(victim))
	dial(t, h).hello(other).greeting(true)
}

// Who a delegate has admitted is a member by its proof, as long as the delegate
// is an admin; then all that it signed is forgotten.
func TestDelegate(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	admin, delegate := newMember(t, network, 1), newMember(t, network, 2)
	ca := connect(t, h, admin)
	connect(t, h, delegate)
	kept, gone := newDelegated(t, network, delegate, 3), newDelegated(t, network, delegate, 4)

	dial(t, h).hello(kept.member).expectError(signaling.CodeUnauthorized) // the delegation is missing
	for _, m := range []*delegated{kept, gone} {
		dial(t, h).hello(m.member, m.prove).greeting(true)
	}
	if got := stored(t, h, network); got != 5 {
		t.Errorf("%d statements are stored, want 4 records and a delegation", got)
	}
	again, err := signaling.NetworkAdmin(network).Record(kept.record.Record)
	if err != nil {
		t.Fatal(err)
	}
	ca.send(&signaling.Members{Statements: [][]byte{
		revocation(t, signaling.NetworkAdmin(network), delegate.node()), again.Bytes(),
	}})
	ca.send(&signaling.Signal{To: config.NewNodeKey().Public()})
	ca.awaitError() // it has handled what was before
	// The records of the two admins' nodes and of the one that was kept, the
	// delegation and the revocation.
	if got := stored(t, h, network); got != 5 {
		t.Errorf("%d statements are stored, want 5", got)
	}
	dial(t, h).hello(gone.member, gone.prove).expectError(signaling.CodeUnauthorized)
	dial(t, h).hello(kept.member, kept.prove).greeting(true) // by the record that was signed anew
	late := newDelegated(t, network, delegate, 5)
	dial(t, h).hello(late.member, late.prove).expectError(signaling.CodeUnauthorized)
	dial(t, h).hello(delegate).expectError(signaling.CodeRevoked)
}

func stored(t testing.TB, h *testHub, network config.NetworkPrivateKey) int {
	t.Helper()
	entries, _, err := h.store.After(network.Public(), tableStatements, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Where the keeper of an invite was revoked nobody may knock.
func TestInviteOfARevokedKeeper(t *testing.T) {
	l := newJoinLab(t)
	j := l.joiner()
	l.knock(t, j, true)
	l.ck.send(&signaling.Members{Statements: [][]byte{revocation(t, signaling.NetworkAdmin(l.network), l.keeper.node())}})
	if e := l.ck.awaitError(); e.Code != signaling.CodeRevoked {
		t.Errorf("the keeper is told %v", e)
	}
	dial(t, l.testHub).hello(j, withTicket("open")).expectError(signaling.CodeTicket)
}

// A hub whose disk refuses a write keeps believing what is on it.
func TestPublishFails(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	a, b := newMember(t, network, 1), newMember(t, network, 2)
	connect(t, h, a)
	n, release := h.rosters.use(network.Public())
	defer release()
	n.store = failingStore{n.store}
	if _, err := n.publish([][]byte{b.record.Bytes()}); err == nil {
		t.Fatal("no error")
	}
	n.store = n.store.(failingStore).Store
	known := true
	n.look(func(r *signaling.Roster) { _, known = r.Record(b.node()) })
	if known {
		t.Error("it is known, though not stored")
	}
	if change, err := n.publish([][]byte{b.record.Bytes()}); err != nil || len(change.Taken) != 1 {
		t.Errorf("again: %v, %v", change.Taken, err)
	}
}

type failingStore struct{ Store }

func (failingStore) Put(config.NetworkKey, string, []Entry) error { return errFull }

// Who is a member no more, because the admin that vouched for it is none, or
// because its time is over, loses its seat like one that was revoked.
func TestSeatOfANonMember(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	admin, delegate := newMember(t, network, 1), newMember(t, network, 2)
	ca := connect(t, h, admin)
	gone := newDelegated(t, network, delegate, 3)
	cg := dial(t, h).hello(gone.member, gone.prove)
	cg.greeting(true)
	ending := newMember(t, network, 4)
	ending.record = ending.sign(t, signaling.Record{Sequence: 1, Expires: time.Now().Add(2 * time.Second)}, 4)
	ce := connect(t, h, ending)

	ca.send(&signaling.Members{Statements: [][]byte{revocation(t, signaling.NetworkAdmin(network), delegate.node())}})
	if e := cg.awaitError(); e.Code != signaling.CodeUnauthorized {
		t.Errorf("told %v", e)
	}
	for {
		ce.send(&signaling.Signal{To: config.NewNodeKey().Public()})
		if e := ce.awaitError(); e.Code == signaling.CodeUnauthorized {
			break
		} else if e.Code != signaling.CodeOffline {
			t.Fatalf("told %v", e)
		}
	}
}
