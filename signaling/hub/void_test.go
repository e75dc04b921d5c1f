package hub

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// What a revoked admin had signed goes from the disk with its revocation, and a
// hub that starts anew knows the same.
func TestVoidStatementsAreDeleted(t *testing.T) {
	s := openTestStore(t)
	key, delegate := config.NewNetworkKey(), config.NewNodeKey()
	network := key.Public()
	root, bad := signaling.NetworkAdmin(key), signaling.DelegateAdmin(network, delegate)
	if err := s.Create(network); err != nil {
		t.Fatal(err)
	}
	raw := func(s *signaling.Statement, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s.Bytes()
	}
	record := func(a signaling.Admin, host byte) []byte {
		t.Helper()
		r := signaling.Record{
			Node: config.NodeKey{host}, Sequence: 1, Name: string('a' + rune(host)), IPv4: netip.AddrFrom4([4]byte{10, 77, 0, host}),
			WireGuard: config.WireGuardKey{host}, Sealing: config.SealingKey{host},
		}
		rec, err := a.Record(r)
		if err != nil {
			t.Fatal(err)
		}
		return rec.Bytes()
	}
	n, release := newRosters(s).use(network)
	defer release()
	publish := func(want int, statements ...[]byte) {
		t.Helper()
		if c, err := n.publish(statements); err != nil || c.Err != nil || len(c.Taken) != want {
			t.Fatalf("%d taken, want %d: %v, %v", len(c.Taken), want, c.Err, err)
		}
	}
	publish(5, raw(root.Delegate(delegate.Public())), record(root, 1), record(bad, 2), record(bad, 3), raw(bad.Revoke(config.NodeKey{1})))
	publish(2, raw(root.Revoke(delegate.Public())), record(root, 2))
	entries, last, err := s.After(network, tableStatements, 0, 0)
	if err != nil || len(entries) != 4 {
		t.Errorf("%d statements are stored, want 4: %v", len(entries), err)
	}
	digest, err := n.digestAt(last)
	if err != nil {
		t.Fatal(err)
	}
	again, done := newRosters(s).use(network)
	defer done()
	if got, err := again.digestAt(last); err != nil || !bytes.Equal(got, digest) {
		t.Errorf("after a start: digest %x, %v, want %x", got, err, digest)
	}
	again.look(func(r *signaling.Roster) {
		for host, want := range map[byte]bool{1: true, 2: true, 3: false} {
			if _, member := r.Get(config.NodeKey{host}); member != want {
				t.Errorf("host %d is a member: %v, want %v", host, member, want)
			}
		}
	})
}
