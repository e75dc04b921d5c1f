package signaling

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// datagramEnds are the keys of two members with each other.
func datagramEnds(t testing.TB) (a, b *DatagramKeys) {
	t.Helper()
	x, y := config.NewWireGuardKey(), config.NewWireGuardKey()
	node := func(wg config.WireGuardPrivateKey) (*Self, *Record) {
		key := config.NewNodeKey()
		return &Self{Network: testNetwork.Public().ID(), Node: key, WireGuard: wg.Public()}, &Record{Node: key.Public(), WireGuard: wg.Public()}
	}
	selfX, recX := node(x)
	selfY, recY := node(y)
	a, err := NewDatagramKeys(selfX, x, recY)
	if err != nil {
		t.Fatal(err)
	}
	b, err = NewDatagramKeys(selfY, y, recX)
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func randomMessage(first byte, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	b[0] = first
	return b
}

// Messages of every length arrive whole, in whatever order and how often their
// datagrams do.
func TestDatagrams(t *testing.T) {
	a, b := datagramEnds(t)
	now := time.Now()
	for _, size := range []int{1, 100, maxPart - 1, maxPart, maxPart + 1, 3500, 5 * maxPart, MaxSealed} {
		for _, kind := range []byte{sealOffer, sealFrame} {
			msg := randomMessage(kind, size)
			r := NewReassembly[string]()
			all := a.Cut(msg)
			sent := 0
			var got []byte
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for i, d := range all {
				sent += len(d)
				f, ok := b.Open(d)
				if !ok || len(d) > MaxDatagram {
					t.Fatalf("%d bytes: datagram of %d bytes, opens: %v", size, len(d), ok)
				}
				if i > 0 && i < len(all)-1 {
					r.Add(now, Origin[string]{b.In(), "x"}, f, 0) // once more
				}
				var came int
				if got, came = r.Add(now, Origin[string]{b.In(), "x"}, f, len(d)); (got != nil) != (i == len(all)-1) {
					t.Fatalf("%d bytes: whole after %d of %d: %v", size, i+1, len(all), got != nil)
				}
				if got != nil && came != sent {
					t.Errorf("%d bytes came, want %d", came, sent)
				}
			}
			if !bytes.Equal(got, msg) {
				t.Errorf("%d bytes of kind %d: something else arrived", size, kind)
			}
			if r.size != 0 || len(r.parts) != 0 || len(r.sizes) != 0 {
				t.Errorf("%d bytes are left behind", r.size)
			}
			if kind == sealOffer && sent != len(all)*MaxDatagram {
				t.Errorf("an offer of %d bytes leaves in %d, want full datagrams", size, sent)
			}
		}
	}
	if a.Cut(nil) != nil || a.Cut(make([]byte, MaxSealed+1)) != nil {
		t.Error("cut what is no message")
	}
}

// The MAC is HMAC-SHA256 as the standard library has it.
func TestDatagramMAC(t *testing.T) {
	a, _ := datagramEnds(t)
	d := a.Cut([]byte("message"))[0]
	h := hmac.New(sha256.New, a.out.key[:])
	h.Write(d[:datagramHeader-datagramMAC])
	h.Write(d[datagramHeader:])
	if got := d[datagramHeader-datagramMAC : datagramHeader]; !hmac.Equal(got, h.Sum(nil)[:datagramMAC]) {
		t.Errorf("MAC % x, want % x", got, h.Sum(nil)[:datagramMAC])
	}
}

// What is altered in any bit does not open, nor what comes back to its sender, nor
// what was for another.
func TestDatagramAltered(t *testing.T) {
	a, b := datagramEnds(t)
	other, _ := datagramEnds(t)
	d := a.Cut(randomMessage(sealFrame, 200))[0]
	for i := range d {
		for bit := range 8 {
			bad := bytes.Clone(d)
			bad[i] ^= 1 << bit
			if _, ok := b.Open(bad); ok {
				t.Errorf("opens with bit %d of byte %d changed", bit, i)
			}
		}
	}
	for _, k := range []*DatagramKeys{a, other} {
		if _, ok := k.Open(d); ok {
			t.Error("opens for another")
		}
	}
	for n := range d {
		if _, ok := b.Open(d[:n]); ok {
			t.Errorf("opens when cut at %d", n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { b.Open(d) }); n != 0 {
		t.Errorf("%v allocations for a look", n)
	}
}

// Fragments whose messages never become whole take no more than their share, and
// no more than their time; they do not stand in the way of another's.
func TestReassemblyBounds(t *testing.T) {
	now := time.Now()
	r := NewReassembly[int]()
	for i := range 10_000 {
		tag := Tag(i % 100)
		if i > 5000 {
			tag = Tag(i % 3)
		}
		a := Fragment{Length: 8000, Index: i % 6, Part: make([]byte, maxPart)}
		a.Message[0], a.Message[1] = byte(i), byte(i>>8)
		r.Add(now, Origin[int]{tag, i % 7}, a, 1200)
		if r.size > reassemblyAll || r.sizes[tag] > reassemblyPair {
			t.Fatalf("%d bytes of one, %d of all", r.sizes[tag], r.size)
		}
	}
	if len(r.parts) != r.order.Len() || r.size == 0 {
		t.Errorf("%d messages, %d in order, %d bytes", len(r.parts), r.order.Len(), r.size)
	}
	msg := randomMessage(sealAnswer, 3000)
	a, b := datagramEnds(t)
	var got []byte
	for _, d := range a.Cut(msg) {
		f, _ := b.Open(d)
		got, _ = r.Add(now, Origin[int]{b.In(), 0}, f, len(d))
	}
	if !bytes.Equal(got, msg) {
		t.Error("another's message does not arrive")
	}
	late := Fragment{Length: 8000, Part: make([]byte, maxPart)}
	r.Add(now.Add(reassemblyFor), Origin[int]{1, 1}, late, 1200)
	if len(r.parts) != 1 || r.size != late.Length {
		t.Errorf("%d messages of %d bytes after their time", len(r.parts), r.size)
	}
}

// Fragments from two places make no message: what came from each is to be known.
func TestReassemblyOrigins(t *testing.T) {
	a, b := datagramEnds(t)
	r := NewReassembly[int]()
	for i, d := range a.Cut(randomMessage(sealOffer, 2*maxPart)) {
		f, _ := b.Open(d)
		if got, _ := r.Add(time.Now(), Origin[int]{b.In(), i}, f, len(d)); got != nil {
			t.Error("whole from two places")
		}
	}
}

// FuzzDatagram takes bytes as a datagram, and as what a member marks as one.
func FuzzDatagram(f *testing.F) {
	a, b := datagramEnds(f)
	for _, d := range a.Cut(randomMessage(sealOffer, 3000)) {
		f.Add(d)
	}
	f.Add(a.Cut([]byte{sealFrame})[0])
	f.Fuzz(func(t *testing.T, d []byte) {
		if _, ok := b.Open(d); ok && len(d) <= datagramHeader {
			t.Error("too short, and opens")
		}
		if len(d) <= datagramHeader || len(d) > MaxDatagram {
			return
		}
		d = bytes.Clone(d)
		d[0] |= DatagramFirst
		d[1], d[2], d[3], d[4] = byte(a.out.tag>>24), byte(a.out.tag>>16), byte(a.out.tag>>8), byte(a.out.tag)
		mac := a.out.mac(d)
		copy(d[datagramHeader-datagramMAC:], mac[:])
		frag, ok := b.Open(d)
		if !ok {
			return
		}
		if len(frag.Part) == 0 || len(frag.Part) > maxPart || frag.Index >= frag.Fragments() || frag.Length > MaxSealed {
			t.Errorf("%x\nopens as %+v", d, frag)
		}
		r := NewReassembly[int]()
		if got, _ := r.Add(time.Now(), Origin[int]{}, frag, len(d)); got != nil && DatagramID(got) != frag.Message {
			t.Error("a message of another hash")
		}
	})
}

// An offer that comes again, as by another way, is answered without opening it.
func TestPairRepeats(t *testing.T) {
	a, b := newTestPairs(t)
	offer := made(a.Offer([]byte("offer")))
	if b.Repeats(offer) {
		t.Error("an offer repeats before it came")
	}
	open(t, b, offer, EventOffer, "offer")
	answer, _, err := b.Answer([]byte("answer"))
	if err != nil {
		t.Fatal(err)
	}
	if ev, err := b.Open(offer); err != nil || !b.Repeats(offer) || !bytes.Equal(ev.Reply, answer) {
		t.Errorf("repeated: %+v, %v", ev, err)
	}
	// Of two that cross, the lower node key's stands, however often the other comes.
	x, y := newTestPairs(t)
	mine, crossing := made(x.Offer(nil)), made(y.Offer(nil))
	for i := range 2 {
		if x.Repeats(crossing) != (i > 0) {
			t.Errorf("crossing offer, time %d: repeats: %v", i, i == 0)
		}
		if ev, err := x.Open(crossing); err != nil || !bytes.Equal(ev.Reply, mine) {
			t.Errorf("crossing offer, time %d: %+v, %v", i, ev, err)
		}
	}
}

func made(msg []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return msg
}
