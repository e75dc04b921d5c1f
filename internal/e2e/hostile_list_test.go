package e2e

import (
	"crypto/rand"
	"math"
	"slices"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// must is for what fails only if the test is wrong.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// stranger is a record of nobody.
func stranger(name string) signaling.Record {
	r := signaling.Record{Node: config.NewNodeKey().Public(), Sequence: math.MaxUint64, Name: name, IPv4: prefix.Addr().Next().Next().Next(), Tags: []string{"admin"}}
	rand.Read(r.WireGuard[:])
	sealing := config.NewSealingKey()
	r.Sealing = sealing.Public()
	return r
}

// everything is what an admin might say of the network, and against a node.
func everything(admin signaling.Admin, victim signaling.Record) (all [][]byte) {
	victim.Sequence = math.MaxUint64
	rand.Read(victim.WireGuard[:]) // other keys under its name and address
	mallory := stranger("mallory")
	all = append(all,
		must(admin.Record(mallory)).Bytes(), must(admin.Record(victim)).Bytes(), must(admin.Revoke(victim.Node)).Bytes(),
		must(admin.Hubs(signaling.HubList{Sequence: math.MaxUint64, Hubs: []config.Hub{{URLs: []string{"ws://192.0.2.66:1"}, Key: config.NewHubKey().Public()}}})).Bytes(),
	)
	if admin.IsNetwork() {
		all = append(all, must(admin.Delegate(victim.Node)).Bytes(), must(admin.Delegate(mallory.Node)).Bytes())
	}
	return all
}

// forgeries are statements that the network's key and its delegates never made:
// by strangers, of another network, by a plain member, and honest ones altered.
func (l *hostileLab) forgeries() (all [][]byte) {
	l.t.Helper()
	network := l.network.Public()
	victim := l.record(l.b)
	other := config.NewNetworkKey()
	all = slices.Concat(
		everything(signaling.NetworkAdmin(other), victim.Record),
		everything(signaling.DelegateAdmin(network, config.NewNodeKey()), victim.Record),
		everything(signaling.DelegateAdmin(network, l.key(l.c)), victim.Record),
		[][]byte{{}, {1}, make([]byte, signaling.MaxStatementSize), make([]byte, signaling.MaxStatementSize+1), []byte("statement")},
	)
	honest := victim.Bytes()
	for _, i := range []int{0, 1, 33, 100, len(honest) - 1} {
		altered := slices.Clone(honest)
		altered[i] ^= 1
		all = append(all, altered)
	}
	for _, n := range []int{1, 97, len(honest) - 1} {
		all = append(all, honest[:n])
	}
	return append(all, append(slices.Clone(honest), 0))
}

// injects: the hub adds, changes, throws out and moves nobody.
func (l *hostileLab) injects(t *testing.T) {
	forged := l.forgeries()
	for _, n := range []*Node{l.a, l.b} {
		seat := l.seat(n)
		for i, raw := range forged {
			m := &signaling.Members{Statements: [][]byte{raw}, Sequence: uint64(i), Digest: []byte("a digest of nothing")}
			m.More = i%2 == 0
			if err := seat.tell(m); err != nil {
				t.Fatal(err)
			}
		}
		seat.tell(&signaling.Members{Statements: forged, Sequence: math.MaxUint64, Digest: make([]byte, 32)})
		for _, raw := range forged {
			seat.tell(&signaling.Error{Code: signaling.CodeUnauthorized, Message: "go away", To: &config.NodeKey{}, Proof: raw})
		}
		l.warned(t, n, "statement", uint64(2*len(forged)))
		if s, err := n.Status(l.ctx); err != nil || s.Hub.URL == "ws://192.0.2.66:1" {
			t.Errorf("%s: hub %v, %v", n.Name, s, err)
		}
	}
}

// refuses: a refusal without a proof, or with one that no admin signed, throws
// nobody out, however often it is said; and the log does not grow by it.
func (l *hostileLab) refuses(t *testing.T) {
	const times = 500
	seat, before := l.seat(l.a), l.counted(l.a, "statement")
	proof := must(signaling.DelegateAdmin(l.network.Public(), l.key(l.c)).Revoke(l.key(l.a).Public())).Bytes()
	to := l.key(l.b).Public()
	for range times {
		seat.tell(&signaling.Error{Code: signaling.CodeRevoked, Message: "you are revoked", Proof: proof, To: &to})
	}
	l.warned(t, l.a, "statement", before+times)
	if n := count(l.a.Log(), "level=WARN", "refused by the hub"); n == 0 || n > 5 {
		t.Errorf("%d lines in the log for %d refusals", n, times)
	}
}
