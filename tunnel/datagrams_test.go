package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// datagramLab is the datagrams of two members.
type datagramLab struct {
	a, b       *datagrams
	recA, recB *signaling.SignedRecord
}

func newDatagramLab(t testing.TB) *datagramLab {
	t.Helper()
	network := config.NewNetworkKey()
	make1 := func(name string, host byte) (*datagrams, *signaling.SignedRecord) {
		self := &signaling.Self{Network: network.Public().ID(), Node: config.NewNodeKey()}
		wg := config.NewWireGuardKey()
		sealing := config.NewSealingKey()
		rec, err := signaling.NetworkAdmin(network).Record(signaling.Record{
			Node: self.Node.Public(), Name: name, IPv4: netip.AddrFrom4([4]byte{10, 77, 0, host}), WireGuard: wg.Public(), Sealing: sealing.Public(),
		})
		if err != nil {
			t.Fatal(err)
		}
		return newDatagrams(self, wg, slog.New(slog.DiscardHandler)), rec
	}
	l := &datagramLab{}
	l.a, l.recA = make1("a", 1)
	l.b, l.recB = make1("b", 2)
	l.a.setMembers([]*signaling.SignedRecord{l.recB})
	l.b.setMembers([]*signaling.SignedRecord{l.recA})
	l.b.pairing(l.recA)
	return l
}

// cut is what a sends to b.
func (l *datagramLab) cut(sealed []byte) [][]byte { return l.a.pairing(l.recB).keys.Cut(sealed) }

func (l *datagramLab) come(sealed []byte, from netip.AddrPort, owner *Endpoint) {
	for _, d := range l.cut(sealed) {
		l.b.take(d, claim{from: from}, owner)
	}
}

func message(size int) []byte {
	b := make([]byte, size)
	rand.Read(b)
	b[0] = 3
	return b
}

// What a member sends arrives with its name, and where it came from.
func TestDatagramsArrive(t *testing.T) {
	l := newDatagramLab(t)
	sealed := message(5000)
	l.come(sealed, port(1), nil)
	got := next(t, l.b.arrived)
	if got.from != l.recA.Node || !bytes.Equal(got.sealed, sealed) || got.by.from != port(1) || got.proved || got.size < len(sealed) {
		t.Errorf("%+v", got)
	}
	l.come(sealed, port(2), &Endpoint{node: l.recA.Node})
	if got := next(t, l.b.arrived); !got.proved {
		t.Error("its own address does not count as proved")
	}
	l.come(sealed, port(2), &Endpoint{node: l.recB.Node})
	if got := next(t, l.b.arrived); got.proved {
		t.Error("another's address counts as proved")
	}
}

// Who is no member any more sends nothing, as does who never was.
func TestDatagramsOfStrangers(t *testing.T) {
	l := newDatagramLab(t)
	other := newDatagramLab(t)
	for _, d := range [][]byte{{0xC0}, append([]byte{0xC0}, make([]byte, 1400)...), other.cut(message(10))[0]} {
		l.b.take(d, claim{from: port(1)}, nil)
	}
	l.b.setMembers(nil)
	l.come(message(10), port(1), nil)
	if got := l.b.strange.Load(); got != 4 || len(l.b.arrived) != 0 {
		t.Errorf("%d of strangers, %d arrived", got, len(l.b.arrived))
	}
	if len(l.b.byTag)+len(l.b.byNode)+len(l.b.byID) != 0 {
		t.Error("a former member is remembered")
	}
	if p := l.b.pairing(l.recA); p.keys == nil || len(l.b.byTag) != 0 {
		t.Error("a former member comes back")
	}
	junk := append([]byte{0xC0}, make([]byte, 1199)...)
	if n := testing.AllocsPerRun(100, func() { l.b.take(junk, claim{from: port(1)}, nil) }); n != 0 {
		t.Errorf("%v allocations for a stranger's datagram", n)
	}
}

// One address that is not proved brings only so much, whatever it repeats; it does
// not stop another, nor the member where it is known.
func TestDatagramsAreLimited(t *testing.T) {
	l := newDatagramLab(t)
	drain := func() (bytes int) {
		for {
			select {
			case a := <-l.b.arrived:
				bytes += a.size
			default:
				return bytes
			}
		}
	}
	total := 0
	for range 1000 {
		l.come(message(1000), port(1), nil)
		total += drain()
	}
	if total > sourceBurst+2*sourceRate {
		t.Errorf("%d bytes from one address at once", total)
	}
	l.come(message(1000), netip.MustParseAddrPort("198.51.100.77:1"), nil)
	if drain() == 0 && l.b.bucket(port(1).Addr()) != l.b.bucket(netip.MustParseAddr("198.51.100.77")) {
		t.Error("another address is stopped as well")
	}
	l.come(message(1000), port(1), &Endpoint{node: l.recA.Node})
	if drain() == 0 {
		t.Error("the member is stopped at its own address")
	}
	for range 10 * maxArrived { // and nobody takes them
		l.come(message(100), port(1), &Endpoint{node: l.recA.Node})
	}
	if len(l.b.arrived) != maxArrived {
		t.Errorf("%d wait", len(l.b.arrived))
	}
}

// The keys of all members are made in the background, and there at once for one.
func TestDatagramKeysInBackground(t *testing.T) {
	l := newDatagramLab(t)
	fresh := newDatagrams(l.b.self, l.b.private, l.b.log)
	fresh.setMembers([]*signaling.SignedRecord{l.recA})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { fresh.run(ctx); close(done) }()
	for {
		if _, ok := fresh.named(l.recA.Node.ID()); ok {
			break
		}
		select {
		case <-t.Context().Done():
			t.Fatal("no keys")
		default:
		}
	}
	cancel()
	<-done
	l.b = fresh
	l.come(message(10), port(1), nil)
	next(t, fresh.arrived)
}

func BenchmarkDatagramOfAStranger(b *testing.B) {
	l := newDatagramLab(b)
	junk := append([]byte{0xC0}, make([]byte, 1199)...)
	for b.Loop() {
		l.b.take(junk, claim{from: port(1)}, nil)
	}
}

func BenchmarkDatagramForged(b *testing.B) {
	l := newDatagramLab(b)
	d := l.cut(message(1000))[0]
	d[len(d)-1]++
	for b.Loop() {
		l.b.take(d, claim{from: port(1)}, nil)
	}
}
