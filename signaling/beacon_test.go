package signaling

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

func testBeacon(t testing.TB) (*testNode, BeaconKey, *Beacon) {
	n := newTestNode(t, "a", 1)
	key := NewBeaconKey(n.self.Network, [32]byte{1, 2, 3})
	return n, key, &Beacon{Node: n.self.Node.Public().ID(), Ask: true, Epoch: 7, Count: 3, Addr: netip.MustParseAddrPort("192.168.1.2:4711")}
}

func TestBeacon(t *testing.T) {
	n, key, b := testBeacon(t)
	for _, addr := range []string{"192.168.1.2:4711", "[fd00::1]:1"} {
		b.Addr = netip.MustParseAddrPort(addr)
		one, two := b.Seal(key, n.self), b.Seal(key, n.self)
		if len(one) != BeaconSize || bytes.Equal(one[:24], two[:24]) || bytes.Contains(one, b.Node[:]) {
			t.Errorf("a beacon of %d bytes, want %d, never the same, without a name", len(one), BeaconSize)
		}
		got, err := OpenBeacon(key, one)
		if err != nil || got.Beacon != *b || !got.Verify(n.self.Network, n.self.Node.Public()) {
			t.Errorf("%+v, %v; want %+v", got, err, b)
		}
		other := newTestNode(t, "b", 2)
		if got.Verify(n.self.Network, other.self.Node.Public()) || got.Verify(config.ID{1}, n.self.Node.Public()) {
			t.Error("another's word")
		}
	}
}

// A former member has the discovery key, and cannot speak for others.
func TestBeaconForged(t *testing.T) {
	n, key, b := testBeacon(t)
	evil := newTestNode(t, "b", 2)
	got, err := OpenBeacon(key, b.Seal(key, evil.self))
	if err != nil || got.Verify(n.self.Network, n.self.Node.Public()) || got.Verify(n.self.Network, evil.self.Node.Public()) {
		t.Errorf("%+v, %v counts", got, err)
	}
}

func TestBeaconAltered(t *testing.T) {
	n, key, b := testBeacon(t)
	msg := b.Seal(key, n.self)
	for i := range msg {
		bad := bytes.Clone(msg)
		bad[i] ^= 1
		if _, err := OpenBeacon(key, bad); err == nil {
			t.Fatalf("opens with byte %d changed", i)
		}
	}
	if _, err := OpenBeacon(NewBeaconKey(n.self.Network, [32]byte{}), msg); err == nil {
		t.Error("opens without the discovery key")
	}
	if _, err := OpenBeacon(key, msg[1:]); err == nil {
		t.Error("opens when it is cut")
	}
}

// FuzzBeacon takes bytes as a beacon, and as what somebody with the key has sealed.
func FuzzBeacon(f *testing.F) {
	n, key, b := testBeacon(f)
	msg := b.Seal(key, n.self)
	plain, err := key.aead().Open(nil, msg[:24], msg[24:], nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add(msg)
	f.Fuzz(func(t *testing.T, p []byte) {
		if _, err := OpenBeacon(key, p); err == nil && len(p) != BeaconSize {
			t.Error("opens what is no beacon")
		}
		nonce := make([]byte, 24)
		got, err := OpenBeacon(key, key.aead().Seal(nonce, nonce, p, nil))
		if err == nil && (got.Epoch == 0 || !got.Addr.IsValid() || got.Addr.Port() == 0 || got.Verify(n.self.Network, n.self.Node.Public()) && !bytes.Equal(p, plain)) {
			t.Errorf("%x\nopens as %+v", p, got)
		}
	})
}
