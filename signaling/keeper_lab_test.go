package signaling

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

var testTime = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// testKeeper is a keeper with what it has saved.
type testKeeper struct {
	*Keeper
	wg      config.WireGuardPrivateKey
	record  *SignedRecord
	saved   []*config.KeptInvite
	failing error // of Save
}

// newTestKeeper is the machine that has made the network, alone in it.
func newTestKeeper(t testing.TB) *testKeeper {
	t.Helper()
	return keeperOn(t, NewRoster(testNetwork.Public()), root, config.NewNodeKey(), 1)
}

// newDelegateKeeper is a delegate beside the founder and the other delegates.
func newDelegateKeeper(t testing.TB, d *testDelegate) *testKeeper {
	t.Helper()
	return keeperOn(t, founded(t), d.Admin, d.key, 100)
}

// keeperOn makes the node a member and an admin in the roster, as "keeper", and
// its keeper.
func keeperOn(t testing.TB, roster *Roster, admin Admin, node config.NodePrivateKey, host byte) *testKeeper {
	t.Helper()
	k := &testKeeper{wg: config.NewWireGuardKey()}
	self := &Self{Network: testNetwork.Public().ID(), Node: node, Sealing: config.NewSealingKey(), WireGuard: k.wg.Public(), Epoch: 1}
	r := Record{
		Node: node.Public(), Sequence: 2, Name: "keeper", IPv4: member(host).IPv4,
		WireGuard: self.WireGuard, Sealing: self.Sealing.Public(),
	}
	merge(t, roster, sign(t, root, r), delegate(t, node.Public()))
	k.record, _ = roster.Get(node.Public())
	k.Keeper = NewKeeper(KeeperConfig{
		Self: self, WireGuard: k.wg, Network: testNetwork.Public(), Admin: admin, NetworkName: "home",
		Prefix: netip.MustParsePrefix("10.77.0.0/16"), Discovery: [32]byte{5},
		Hub: func() config.Hub { return testHub(443) }, Roster: roster, Save: k.save,
	}, nil)
	return k
}

func (k *testKeeper) save(invites []*config.KeptInvite) error {
	if k.failing != nil {
		return k.failing
	}
	k.saved = invites
	return nil
}

// restart is the keeper after a crash: it knows what was saved.
func (k *testKeeper) restart() { k.Keeper = NewKeeper(k.cfg, k.saved) }

func (k *testKeeper) invite(t testing.TB, o InviteOptions) config.Invite {
	t.Helper()
	i, err := k.Invite(testTime, o)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// testJoiner is a machine with keys of its own.
type testJoiner struct {
	*Joiner
	sealing config.SealingKey // the keeper's
	name    string
}

func (k *testKeeper) joiner(i config.Invite, name string) *testJoiner {
	wg := config.NewWireGuardKey()
	self := &Self{Network: i.Network.ID(), Node: config.NewNodeKey(), Sealing: config.NewSealingKey(), WireGuard: wg.Public(), Epoch: 1}
	return &testJoiner{NewJoiner(self, wg, i), k.record.Sealing, name}
}

func (j *testJoiner) node() config.NodeKey { return j.self.Node.Public() }

func (j *testJoiner) request(t testing.TB) []byte {
	t.Helper()
	return must2(t)(j.Request(j.sealing, j.name))
}

// take is what the joiner makes of an answer, knowing nothing but its invite.
func (j *testJoiner) take(t testing.TB, a *JoinAnswer) *SignedRecord {
	t.Helper()
	r := NewRoster(j.invite.Network)
	merge(t, r, a.Statements...)
	rec, ok := r.Get(j.node())
	if !ok {
		t.Fatalf("the answer, %q with %d statements, makes no member", a.Refusal, len(a.Statements))
	}
	return rec
}

// ask is a request and its answer.
func (j *testJoiner) ask(t testing.TB, k *testKeeper, now time.Time) *JoinAnswer {
	t.Helper()
	msg, _, err := k.Answer(now, j.request(t))
	if err != nil {
		t.Fatal(err)
	}
	a, err := j.Answer(msg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// join is the whole exchange; it returns the record that is published.
func (j *testJoiner) join(t testing.TB, k *testKeeper) *SignedRecord {
	t.Helper()
	if a := j.ask(t, k, testTime); a.Refusal != "" {
		t.Fatalf("refused: %s", a.Refusal)
	}
	published, ok := k.Ack(j.node(), j.Ack())
	if !ok {
		t.Fatal("the acknowledgement was refused")
	}
	merge(t, k.cfg.Roster, published...)
	rec, ok := k.cfg.Roster.Get(j.node())
	if !ok {
		t.Fatal("the new member's record does not stand")
	}
	return rec
}

func (k *testKeeper) states(now time.Time) string {
	var s []string
	for _, t := range k.Tickets(now) {
		s = append(s, string(t.State))
	}
	return strings.Join(s, " ")
}
