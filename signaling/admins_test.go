package signaling

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// The admins of testNetwork: its key, and delegates by the order of their node
// keys, which decides clashes among them.
var (
	root      = NetworkAdmin(testNetwork)
	delegates = newDelegates(4)
	creator   = nodeKey(50) // the machine that has the network's key
)

// testDelegate is a node that may have been delegated.
type testDelegate struct {
	Admin
	key config.NodePrivateKey
}

func (d *testDelegate) node() config.NodeKey { return d.key.Public() }

func nodeKey(seed byte) config.NodePrivateKey {
	var k config.NodePrivateKey
	if err := k.SetSeed(bytes.Repeat([]byte{seed}, 32)); err != nil {
		panic(err)
	}
	return k
}

func newDelegates(n int) []*testDelegate {
	var all []*testDelegate
	for i := range n {
		key := nodeKey(byte(200 + i))
		all = append(all, &testDelegate{DelegateAdmin(testNetwork.Public(), key), key})
	}
	slices.SortFunc(all, func(a, b *testDelegate) int { return compareKeys(a.node(), b.node()) })
	return all
}

// member is a record with a name, an address and keys that no other host has.
// Lower hosts have lower node keys.
func member(host byte) Record {
	return memberOf(config.NodeKey{host}, host)
}

func memberOf(node config.NodeKey, host byte) Record {
	r := Record{
		Node: node, Sequence: 1, Name: fmt.Sprintf("n%d", host), IPv4: netip.AddrFrom4([4]byte{10, 77, 0, host}),
		WireGuard: config.WireGuardKey{host},
	}
	r.Sealing[0] = host
	return r
}

func sign(t testing.TB, a Admin, r Record) []byte {
	t.Helper()
	rec, err := a.Record(r)
	if err != nil {
		t.Fatal(err)
	}
	return rec.Bytes()
}

func revoke(t testing.TB, a Admin, node config.NodeKey) []byte {
	t.Helper()
	return stated(t)(a.Revoke(node))
}

func delegate(t testing.TB, node config.NodeKey) []byte {
	t.Helper()
	return stated(t)(root.Delegate(node))
}

func hubList(t testing.TB, a Admin, sequence uint64, port int) []byte {
	t.Helper()
	return stated(t)(a.Hubs(HubList{Sequence: sequence, Hubs: []config.Hub{testHub(port)}}))
}

func testHub(port int) config.Hub {
	return config.Hub{URLs: []string{fmt.Sprintf("ws://192.0.2.1:%d", port)}, Key: config.HubKey{byte(port)}}
}

func stated(t testing.TB) func(*Statement, error) []byte {
	return func(s *Statement, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s.Bytes()
	}
}

// founded is a new network: the creator's machine, host 1, is a member and an
// admin; so are the delegates, hosts 2 and up, each under the network's key.
func founded(t testing.TB) *Roster {
	t.Helper()
	r := NewRoster(testNetwork.Public())
	merge(t, r, delegate(t, creator.Public()), sign(t, root, memberOf(creator.Public(), 1)), hubList(t, root, 1, 443))
	for i, d := range delegates {
		merge(t, r, delegate(t, d.node()), sign(t, root, memberOf(d.node(), byte(2+i))))
	}
	return r
}

// merge takes statements that all count, or are known.
func merge(t testing.TB, r *Roster, raw ...[]byte) Change {
	t.Helper()
	c := r.Merge(raw...)
	if c.Err != nil {
		t.Fatal(c.Err)
	}
	return c
}

// show is records as name@last byte of the address, and the sequence if it is
// not 1, in the order of addresses.
func show(records []*SignedRecord) string {
	records = slices.SortedFunc(slices.Values(records), func(a, b *SignedRecord) int { return a.IPv4.Compare(b.IPv4) })
	var s []string
	for _, m := range records {
		text := fmt.Sprintf("%s@%d", m.Name, m.IPv4.As4()[3])
		if m.Sequence != 1 {
			text += fmt.Sprintf(":%d", m.Sequence)
		}
		s = append(s, text)
	}
	return strings.Join(s, " ")
}

func members(r *Roster) string { return show(r.Live(time.Time{})) }

func raws(r *Roster) [][]byte {
	var all [][]byte
	for _, s := range r.Statements() {
		all = append(all, s.Bytes())
	}
	return all
}
