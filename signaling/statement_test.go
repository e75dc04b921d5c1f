package signaling

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

func count(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// golden is one statement of each kind, its body written by hand.
type golden struct {
	name string
	kind StatementKind
	make func() (*Statement, error)
	body []byte
	hash string // of the whole as the network's key signs it
}

func goldens() []golden {
	node := config.NodeKey(count(1, 32))
	hubs := HubList{Sequence: 0x0102030405060708, Hubs: []config.Hub{
		{URLs: []string{"ws://192.0.2.1:443", "ws://[2001:db8::1]:443"}, Key: config.HubKey(count(5, 32))},
	}}
	return []golden{
		{"delegation", StatementDelegation, func() (*Statement, error) { return root.Delegate(node) },
			slices.Concat([]byte{1}, count(1, 32)),
			"96f21e0431bae22da9417fa85fa8eab9d29071e5e6b8ff57d9cda2bbfd83d7ca"},
		{"revocation", StatementRevocation, func() (*Statement, error) { return root.Revoke(node) },
			slices.Concat([]byte{1}, count(1, 32)),
			"bd284a4bdcc47e5bc75940a1c50ef57b1432dcd76c12dcb7ec4c2c36d11d9ad2"},
		{"hub list", StatementHubs, func() (*Statement, error) { return root.Hubs(hubs) },
			slices.Concat([]byte{1}, []byte{1, 2, 3, 4, 5, 6, 7, 8}, []byte{1, 2}, []byte("\x12ws://192.0.2.1:443\x16ws://[2001:db8::1]:443"), count(5, 32)),
			"e1b65a710b47e88e08140953f893c8ea2da4b6c9881a56fd67207c848d9e4787"},
		{"record", StatementRecord, func() (*Statement, error) {
			rec, err := root.Record(goldenRecord())
			if err != nil {
				return nil, err
			}
			return rec.Statement(), nil
		}, goldenBody(), "bf904c4db9477dcbb3bc6a6ab9f2a743453ed44339a3cfd15c798e55697b18dd"},
	}
}

// signBody signs any bytes as a statement of that kind.
func signBody(k StatementKind, body []byte) []byte {
	pub, label := testNetwork.Public(), kind("no kind")
	if l, ok := k.label(); ok {
		label = l
	}
	return slices.Concat([]byte{byte(k)}, pub[:], testNetwork.Sign(toSign(label, pub.ID(), body)), body)
}

// parse is ParseStatement for testNetwork.
func parse(raw []byte) (*Statement, error) { return ParseStatement(testNetwork.Public(), raw) }

func TestGoldenStatements(t *testing.T) {
	for _, g := range goldens() {
		s, err := g.make()
		if err != nil {
			t.Fatal(err)
		}
		if want := signBody(g.kind, g.body); !bytes.Equal(s.Bytes(), want) {
			t.Errorf("%s\n got %x\nwant %x", g.name, s.Bytes(), want)
		}
		// Ed25519 signs the same bytes the same way (RFC 8032).
		if h := s.Hash(); hex.EncodeToString(h[:]) != g.hash || h != sha256.Sum256(s.Bytes()) {
			t.Errorf("%s: hash %x, want %s, SHA-256 of its bytes", g.name, h, g.hash)
		}
		got, err := parse(s.Bytes())
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%s: came back as %+v, %v", g.name, got, err)
		}
		if got.Kind != g.kind || got.Signer != root.signer || (got.Record() != nil) != (g.kind == StatementRecord) || (got.Hubs() != nil) != (g.kind == StatementHubs) {
			t.Errorf("%s: says %+v", g.name, got)
		}
		if about := g.kind != StatementHubs; (got.Node == config.NodeKey(count(1, 32))) != about {
			t.Errorf("%s: is about %v", g.name, got.Node)
		}
	}
}

func TestAlteredStatementIsNotSigned(t *testing.T) {
	for _, g := range goldens() {
		good := signBody(g.kind, g.body)
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 0x41
			want := ErrSignature
			if i == 0 {
				want = errVersion // no such kind
			}
			if _, err := parse(bad); !errors.Is(err, want) {
				t.Fatalf("%s, byte %d altered: %v, want %v", g.name, i, err, want)
			}
		}
		for n := range good {
			want := ErrSignature
			if n < 1+32+64 {
				want = errFormat
			}
			if _, err := parse(good[:n]); !errors.Is(err, want) {
				t.Fatalf("%s cut to %d: %v, want %v", g.name, n, err, want)
			}
		}
		if _, err := parse(append(bytes.Clone(good), 0)); !errors.Is(err, ErrSignature) {
			t.Errorf("%s, a byte more: %v, want %v", g.name, err, ErrSignature)
		}
	}
}

func TestStatementOfAnotherUse(t *testing.T) {
	other, node := config.NewNetworkKey(), config.NewNodeKey()
	ours, theirs := testNetwork.Public(), other.Public()
	for _, g := range goldens() {
		label, _ := g.kind.label()
		good := signBody(g.kind, g.body)
		under := func(signer []byte, sig []byte) []byte {
			return slices.Concat([]byte{byte(g.kind)}, signer, sig, g.body)
		}
		for name, raw := range map[string][]byte{
			"another network's":          under(theirs[:], other.Sign(toSign(label, theirs.ID(), g.body))),
			"another's, under our name":  under(ours[:], other.Sign(toSign(label, ours.ID(), g.body))),
			"ours for another network":   under(ours[:], testNetwork.Sign(toSign(label, theirs.ID(), g.body))),
			"ours, of another use":       under(ours[:], testNetwork.Sign(toSign(kindJoin, ours.ID(), g.body))),
			"ours, under another name":   under(theirs[:], good[33:97]),
			"the member's own signature": under(ours[:], node.Sign(toSign(label, ours.ID(), g.body))),
			"of no key":                  under(make([]byte, 32), append([]byte{1}, make([]byte, 63)...)),
		} {
			if _, err := parse(raw); !errors.Is(err, ErrSignature) {
				t.Errorf("%s, %s: %v, want %v", g.name, name, err, ErrSignature)
			}
		}
		for k := range StatementKind(6) {
			if k == g.kind {
				continue
			}
			raw := bytes.Clone(good)
			raw[0] = byte(k)
			if s, err := parse(raw); err == nil {
				t.Errorf("%s passes for one of kind %d: %+v", g.name, k, s)
			}
		}
	}
}

// What an admin signed is still decoded strictly.
func TestSignedStatementIsDecodedStrictly(t *testing.T) {
	network := testNetwork.Public()
	edit := func(body []byte, at int, b ...byte) []byte {
		body = bytes.Clone(body)
		copy(body[at:], b)
		return body
	}
	for _, g := range goldens() {
		type edited struct {
			name string
			body []byte
			want string
		}
		cases := []edited{
			{"as it is", g.body, ""},
			{"newer version", edit(g.body, 0, 2), "newer p2ptun"},
			{"version zero", edit(g.body, 0, 0), "newer p2ptun"},
			{"a byte more", append(bytes.Clone(g.body), 0), "not well formed"},
			{"too long", append(bytes.Clone(g.body), make([]byte, MaxStatementSize)...), "too long"},
		}
		for n := range g.body {
			cases = append(cases, edited{"cut", g.body[:n], " "})
		}
		switch g.kind {
		case StatementDelegation, StatementRevocation:
			cases = append(cases,
				edited{"no node key", edit(g.body, 1, make([]byte, 32)...), "not well formed"},
				edited{"the network's key", edit(g.body, 1, network[:]...), "cannot be a node's"})
		case StatementHubs:
			const hubsAt, keyAt = 1 + 8, 1 + 8 + 2 + 19 + 23
			cases = append(cases,
				edited{"no hubs", g.body[:hubsAt+1], "not well formed"},
				edited{"zero hubs", edit(g.body, hubsAt, 0), "not well formed"},
				edited{"more hubs than there are", edit(g.body, hubsAt, 2), "not well formed"},
				edited{"no URL", edit(g.body, hubsAt+1, 0), "not well formed"},
				edited{"a URL that is none", edit(g.body, hubsAt+3, 'h'), "not well formed"},
				edited{"no hub key", edit(g.body, keyAt, make([]byte, 32)...), "not well formed"})
		}
		for _, c := range cases {
			s, err := parse(signBody(g.kind, c.body))
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s, %s: %v", g.name, c.name, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrSignature)):
				t.Errorf("%s, %s: %v, %v, want %q", g.name, c.name, s, err, c.want)
			}
		}
	}
	if _, err := parse(signBody(5, goldens()[0].body)); !errors.Is(err, errVersion) {
		t.Errorf("a kind of a newer p2ptun: %v, want %v", err, errVersion)
	}
}

func TestHubListLimits(t *testing.T) {
	four := []config.Hub{testHub(1), testHub(2), testHub(3), testHub(4)}
	long := config.Hub{URLs: slices.Repeat([]string{"ws://" + strings.Repeat("h", 240) + ":443"}, config.MaxHubURLs), Key: config.HubKey{1}}
	for _, c := range []struct {
		name string
		hubs []config.Hub
		ok   bool
	}{
		{"one", four[:1], true},
		{"four", four, true},
		{"none", nil, false},
		{"five", append(slices.Clone(four), testHub(5)), false},
		{"the longest", []config.Hub{long}, true},
		{"more than a statement takes", []config.Hub{long, long}, false},
		{"a hub without a key", []config.Hub{{URLs: four[0].URLs}}, false},
		{"a hub without a URL", []config.Hub{{Key: config.HubKey{1}}}, false},
	} {
		if s, err := root.Hubs(HubList{Sequence: 1, Hubs: c.hubs}); (err == nil) != c.ok {
			t.Errorf("%s: %v, %v, want it signed: %v", c.name, s, err, c.ok)
		}
	}
}

func TestAdmin(t *testing.T) {
	d := delegates[0]
	for name, c := range map[string]struct {
		admin         Admin
		zero, network bool
	}{"nobody": {Admin{}, true, false}, "the network's key": {root, false, true}, "a delegate": {d.Admin, false, false}} {
		if c.admin.IsZero() != c.zero || c.admin.IsNetwork() != c.network {
			t.Errorf("%s: zero %v, network %v", name, c.admin.IsZero(), c.admin.IsNetwork())
		}
	}
	s, err := d.Revoke(config.NodeKey{1})
	if err != nil || !d.Signed(s) || root.Signed(s) || (Admin{}).Signed(s) {
		t.Errorf("%v, %v: whose is it?", s, err)
	}
	if s, err := d.Delegate(config.NodeKey{1}); !errors.Is(err, ErrNetworkKey) || config.HintOf(err) == "" {
		t.Errorf("a delegate delegates: %v, %v", s, err)
	}
}
