package tunnel

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tun"
	"golang.org/x/time/rate"
)

// fakeLAN is a socket that keeps what is sent.
type fakeLAN struct {
	four bool
	sent [][]byte
}

func (s *fakeLAN) send(b []byte, _ int) error               { s.sent = append(s.sent, b); return nil }
func (s *fakeLAN) receive([]byte) (n, index int, err error) { return 0, 0, errors.ErrUnsupported }
func (s *fakeLAN) close()                                   {}
func (s *fakeLAN) ipv4() bool                               { return s.four }

// newTestLAN returns a node's lan that knows one other, and the other's.
func newTestLAN(t *testing.T) (l, other *lan) {
	t.Helper()
	network := config.ID{1}
	make1 := func() *lan {
		return &lan{
			key: signaling.NewBeaconKey(network, [32]byte{2}), port: 4711, log: slog.New(slog.DiscardHandler),
			self:  &signaling.Self{Network: network, Node: config.NewNodeKey(), Epoch: 5},
			allow: func(a netip.Addr) bool { return !netip.MustParsePrefix("192.168.1.64/26").Contains(a) },
			heard: make(chan nearby, 4), moved: make(chan struct{}, 1), asked: make(chan struct{}, 1),
			checks: rate.NewLimiter(lanRate, lanBurst),
		}
	}
	l, other = make1(), make1()
	key := other.self.Node.Public()
	l.member = func(id config.ID) (config.NodeKey, bool) { return key, id == key.ID() }
	return l, other
}

func testLink(addrs ...string) tun.LAN {
	link := tun.LAN{Index: 3}
	for _, a := range addrs {
		link.Addresses = append(link.Addresses, netip.MustParsePrefix(a))
	}
	return link
}

// Each address of a LAN that may be told is, to its own family's group.
func TestBeaconsAnnounce(t *testing.T) {
	l, other := newTestLAN(t)
	four, six := &fakeLAN{four: true}, &fakeLAN{}
	link := testLink("192.168.1.2/24", "192.168.1.70/24", "fd00::2/64")
	other.announce([]lanSocket{four, six}, []tun.LAN{link}, true)
	if len(four.sent) != 1 || len(six.sent) != 1 {
		t.Fatalf("%d and %d beacons", len(four.sent), len(six.sent))
	}
	for i, b := range [][]byte{four.sent[0], six.sent[0]} {
		heard, ok := l.open(b, link)
		if want := netip.AddrPortFrom(link.Addresses[2*i].Addr(), 4711); !ok || heard.beacon.Addr != want || !heard.beacon.Ask || heard.beacon.Count != uint32(i+1) {
			t.Errorf("%+v, %v; want %v", heard, ok, want)
		}
		l.hear(heard)
	}
	if len(l.heard) != 2 || len(l.asked) != 1 {
		t.Errorf("%d heard, %d asked", len(l.heard), len(l.asked))
	}
}

// Beacons of strangers, of former members in another's name, and of what is not on
// the link come to nothing; nor is more verified than there is time for.
func TestBeaconsRefused(t *testing.T) {
	l, other := newTestLAN(t)
	link := testLink("192.168.1.2/24")
	at := func(addr string, by *lan, node config.ID) []byte {
		b := signaling.Beacon{Node: node, Epoch: 1, Count: 1, Addr: netip.MustParseAddrPort(addr)}
		return b.Seal(l.key, by.self)
	}
	id := other.self.Node.Public().ID()
	_, stranger := newTestLAN(t)
	for what, b := range map[string][]byte{
		"elsewhere":       at("192.168.2.9:1", other, id),
		"not allowed":     at("192.168.1.65:1", other, id),
		"forged":          at("192.168.1.9:1", stranger, id),
		"of a stranger":   at("192.168.1.9:1", stranger, stranger.self.Node.Public().ID()),
		"junk":            make([]byte, signaling.BeaconSize),
		"longer than any": make([]byte, signaling.BeaconSize+1),
	} {
		if heard, ok := l.open(b, link); ok {
			t.Errorf("%s: %+v counts", what, heard)
		}
	}
	good := at("192.168.1.9:1", other, id)
	count := 0
	for range 2 * lanBurst {
		if _, ok := l.open(good, link); ok {
			count++
		}
	}
	if count == 0 || count > lanBurst+lanRate {
		t.Errorf("%d verified at once", count)
	}
}

// What was said before counts once; what an earlier run said does not.
func TestBeaconsRepeated(t *testing.T) {
	n, members := newQuietNode(t, 1)
	m := members[0]
	say := func(epoch signaling.Epoch, count uint32, at int) (news bool) {
		m.ways = newWays(nil)
		n.hearBeacon(nearby{m.record.Node, signaling.Beacon{Epoch: epoch, Count: count, Addr: port(at)}})
		return m.ways.any()
	}
	for i, tt := range []struct {
		epoch signaling.Epoch
		count uint32
		want  bool
	}{{5, 3, true}, {5, 3, false}, {5, 2, false}, {4, 9, false}, {5, 4, true}, {6, 1, true}, {5, 9, false}} {
		if got := say(tt.epoch, tt.count, i+1); got != tt.want {
			t.Errorf("step %d: counts: %v", i, got)
		}
	}
	n.hearBeacon(nearby{config.NodeKey{9}, signaling.Beacon{Epoch: 1, Addr: port(1)}}) // of nobody
	if len(n.active) != 0 {
		t.Error("a beacon began a session while there is a hub")
	}
	// Without the hub it does.
	n.link.up, n.lone = false, true
	if !say(7, 1, 9) || m.active == nil || m.active.idle.kept.IsZero() {
		t.Error("a beacon begins nothing while there is no hub")
	}
	if time.Since(m.active.idle.kept) > time.Minute {
		t.Error("a neighbour of old")
	}
}
