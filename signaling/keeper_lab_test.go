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

func newTestKeeper(t testing.TB) *testKeeper {
	t.Helper()
	k := &testKeeper{wg: config.NewWireGuardKey()}
	self := &Self{Network: testNetwork.Public().ID(), Node: config.NewNodeKey(), Sealing: config.NewSealingKey(), WireGuard: k.wg.Public(), Epoch: 1}
	rec, err := SignRecord(testNetwork, Record{
		Node: self.Node.Public(), Sequence: 1, Name: "keeper", IPv4: netip.MustParseAddr("10.77.0.1"),
		WireGuard: self.WireGuard, Sealing: self.Sealing.Public(),
	})
	if err != nil {
		t.Fatal(err)
	}
	k.record = rec
	roster := NewRoster(testNetwork.Public())
	merge(t, roster, rec.Bytes())
	k.Keeper = NewKeeper(KeeperConfig{
		Self: self, WireGuard: k.wg, Network: testNetwork, NetworkName: "home",
		Prefix: netip.MustParsePrefix("10.77.0.0/16"), Discovery: [32]byte{5},
		Hub: config.Hub{URLs: []string{"ws://192.0.2.1:443"}, Key: config.HubKey{6}}, Roster: roster, Save: k.save,
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
	raw, ok := k.Ack(j.node(), j.Ack())
	if !ok {
		t.Fatal("the acknowledgement was refused")
	}
	merge(t, k.cfg.Roster, raw)
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
