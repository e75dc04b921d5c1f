package tunnel

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
	"golang.org/x/time/rate"
)

// gossiper is a Node as far as gossip needs one: its roster, and members that
// hand their notes to each other.
type gossiper struct {
	*Node
	name  string
	peers map[string]*active // by name
}

// gossipLab carries notes between gossipers, in order, until all are quiet.
type gossipLab struct {
	t       *testing.T
	network config.NetworkPrivateKey
	nodes   map[string]*gossiper
	queue   []func()
	notes   int
	bytes   int
}

func newGossipLab(t *testing.T, names ...string) *gossipLab {
	l := &gossipLab{t: t, network: config.NewNetworkKey(), nodes: make(map[string]*gossiper)}
	for _, name := range names {
		dir, err := config.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dir.Close() })
		self := &signaling.Self{Network: l.network.Public().ID(), Node: config.NewNodeKey()}
		l.nodes[name] = &gossiper{name: name, peers: make(map[string]*active), Node: &Node{
			cfg: Config{Dir: dir, Progress: func(string) {}}, log: slog.New(slog.DiscardHandler), self: self,
			sealed: newDatagrams(self, config.NewWireGuardKey(), slog.New(slog.DiscardHandler)), asking: rate.NewLimiter(askRate, askBurst),
			passes: make(chan errand, askBurst), soon: make(chan struct{}, 1),
			node: &config.Node{Network: l.network.Public()}, roster: signaling.NewRoster(l.network.Public()),
			hub:     signaling.NewClient(signaling.ClientConfig{Self: self, Log: slog.New(slog.DiscardHandler)}),
			members: make(map[config.NodeKey]*member), active: make(map[config.NodeKey]*active), refuse: make(map[string]int),
			joins: rate.NewLimiter(5, 50), hearing: rate.NewLimiter(500, 100_000),
		}}
	}
	for _, a := range l.nodes {
		for _, b := range l.nodes {
			if a != b {
				l.connect(a, b)
			}
		}
	}
	return l
}

// connect makes b a's member.
func (l *gossipLab) connect(a, b *gossiper) {
	m := &active{member: &member{online: true, before: before{limits: newLimits()}}}
	m.record = l.record(b.self.Node.Public(), b.name, 1)
	m.tell = func(note []byte) {
		if len(note) > peer.MaxNote {
			l.t.Fatalf("a note of %d bytes, at most %d fit", len(note), peer.MaxNote)
		}
		l.notes++
		l.bytes += len(note)
		l.queue = append(l.queue, func() { b.told(b.peers[a.name], note) })
	}
	a.peers[b.name] = m
	m.active = m
	a.members[b.self.Node.Public()], a.active[b.self.Node.Public()] = m.member, m
}

func (l *gossipLab) record(node config.NodeKey, name string, host int) *signaling.SignedRecord {
	l.t.Helper()
	rec, err := signaling.NetworkAdmin(l.network).Record(signaling.Record{
		Node: node, Name: name, IPv4: netip.AddrFrom4([4]byte{10, 77, byte(host >> 8), byte(host)}),
		WireGuard: config.WireGuardKey(node), Sealing: config.SealingKey(bytes.Repeat(node[:], config.SealingKeySize/len(node))),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return rec
}

// strangers are records of members that nobody is connected to.
func (l *gossipLab) strangers(from, to int) (raw [][]byte) {
	for i := from; i < to; i++ {
		raw = append(raw, l.record(config.NewNodeKey().Public(), fmt.Sprintf("n%d", i), i).Bytes())
	}
	return raw
}

// settle delivers until nobody has anything to say.
func (l *gossipLab) settle() {
	for len(l.queue) > 0 {
		f := l.queue[0]
		l.queue = l.queue[1:]
		f()
	}
}

// session begins one between two.
func (l *gossipLab) session(a, b string) {
	for _, m := range []*active{l.nodes[a].peers[b], l.nodes[b].peers[a]} {
		m.compared = time.Time{}
	}
	l.nodes[a].tellDigest(l.nodes[a].peers[b])
	l.nodes[b].tellDigest(l.nodes[b].peers[a])
	l.settle()
}

func (l *gossipLab) agree(names ...string) {
	l.t.Helper()
	want := l.nodes[names[0]].roster.Digest()
	for _, name := range names[1:] {
		if !bytes.Equal(l.nodes[name].roster.Digest(), want) {
			l.t.Errorf("%s and %s do not know the same", names[0], name)
		}
	}
}

// Two that meet know the same afterwards, however different they were; where
// they know the same already they say next to nothing.
func TestGossipMakesEqual(t *testing.T) {
	for _, size := range []struct{ both, a, b int }{{0, 1, 0}, {0, 0, 5}, {3, 2, 4}, {1700, 30, 1}} {
		l := newGossipLab(t, "a", "b")
		both := l.strangers(0, size.both)
		l.nodes["a"].roster.Merge(append(l.strangers(size.both, size.both+size.a), both...)...)
		l.nodes["b"].roster.Merge(append(l.strangers(5000, 5000+size.b), both...)...)
		l.session("a", "b")
		l.agree("a", "b")
		if got := len(l.nodes["a"].roster.Statements()); got != size.both+size.a+size.b {
			t.Errorf("%+v: a knows %d statements", size, got)
		}
		// 8 bytes for each that both have and each has, and what the other lacks.
		most := 500 + 2*9*(size.both+size.a+size.b) + 1600*(size.a+size.b)
		if l.bytes > most {
			t.Errorf("%+v: %d bytes were said, want at most %d", size, l.bytes, most)
		}
		l.notes = 0
		l.session("a", "b")
		if l.notes != 2 {
			t.Errorf("%+v: %d notes between equals, want a digest each", size, l.notes)
		}
	}
}

// A revocation that one hears of is with all at once, over members alone, and
// on the disk of each.
func TestRevocationSpreads(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	for i := range 20 {
		names = append(names, fmt.Sprintf("n%d", i))
	}
	l := newGossipLab(t, names...)
	admin := signaling.NetworkAdmin(l.network)
	victim := l.record(config.NewNodeKey().Public(), "victim", 9)
	for _, n := range l.nodes {
		n.roster.Merge(victim.Bytes())
	}
	revocation, err := admin.Revoke(victim.Node)
	if err != nil {
		t.Fatal(err)
	}
	l.nodes["a"].learn([][]byte{revocation.Bytes()}, true)
	l.settle()
	for name, n := range l.nodes {
		if !n.roster.IsRevoked(victim.Node) {
			t.Errorf("%s has not heard of it", name)
			continue
		}
		saved, err := n.cfg.Dir.LoadMembers()
		if err != nil || !slices.ContainsFunc(saved.Statements, func(s []byte) bool { return bytes.Equal(s, revocation.Bytes()) }) {
			t.Errorf("%s has not stored it (%v)", name, err)
		}
	}
	if most := 2 * len(names) * spreadTo; l.notes > most {
		t.Errorf("%d notes, want at most %d", l.notes, most)
	}
}

// What a member says is taken for no more than it is: garbage and forgeries are
// counted, floods are cut off, and nobody else hears of them.
func TestGossipOfAHostileMember(t *testing.T) {
	l := newGossipLab(t, "a", "b", "c")
	a := l.nodes["a"]
	from := a.peers["b"]
	forged := l.record(config.NewNodeKey().Public(), "forged", 7).Bytes()
	forged[len(forged)-1] ^= 1
	foreign, _ := signaling.NetworkAdmin(config.NewNetworkKey()).Revoke(l.nodes["c"].self.Node.Public())
	delegate, _ := signaling.DelegateAdmin(l.network.Public(), l.nodes["b"].self.Node).Revoke(l.nodes["c"].self.Node.Public())
	statements := func(raw ...[]byte) []byte {
		note := []byte{noteStatements}
		for _, s := range raw {
			note = append(append(note, byte(len(s)>>8), byte(len(s))), s...)
		}
		return note
	}
	for _, note := range [][]byte{
		nil, {0}, {9, 9}, {noteDigest}, {noteHave}, {noteHave, 1, 2, 3}, append(make([]byte, 18), 0), {noteStatements, 0xff},
		append([]byte{noteHave}, make([]byte, 16+3)...), statements(forged), statements(foreign.Bytes()), statements(delegate.Bytes()),
		statements(nil), statements([]byte("x"), make([]byte, 5000)),
	} {
		a.told(from, note)
	}
	if len(a.roster.Statements()) != 0 {
		t.Error("something was believed")
	}
	if a.refuse["statement"] == 0 || a.refuse["note of a member"] == 0 {
		t.Errorf("counted: %v", a.refuse)
	}
	flood := slices.Repeat([][]byte{forged}, 8)
	for range verifyBurst {
		a.told(from, statements(flood...))
	}
	if a.refuse["statements of a member"] == 0 {
		t.Error("nothing of a flood was cut off")
	}
}

// A member that says again and again that it lacks everything is sent it as
// often as honest ones may ask, and no more than they may be sent.
func TestSupplyIsLimited(t *testing.T) {
	l := newGossipLab(t, "a", "b")
	a := l.nodes["a"]
	a.roster.Merge(l.strangers(0, 100)...)
	all := append([]byte{noteHave}, slices.Concat(make([]byte, 8), bytes.Repeat([]byte{0xff}, 8))...)
	for range 10 * supplyBurst {
		a.told(a.peers["b"], all)
	}
	statement := len(a.roster.Statements()[0].Bytes()) + 2
	if sent := l.bytes / statement; sent < 100 || sent > verifyBurst+verifyRate {
		t.Errorf("%d statements were sent, want 100 to %d", sent, verifyBurst)
	}
	if a.refuse["note of a member"] < 8*supplyBurst {
		t.Errorf("counted: %v", a.refuse)
	}
}
