package main

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
)

func TestMain(m *testing.M) { natlab.Main(m) }

// short are the pairs of the short form: each place, and each kind of path.
var short = [][2]string{
	{"public", "ipv6"}, {"full", "symmetric"}, {"address", "symmetric-sequential"}, {"port", "port"},
	{"port", "cgnat-port"}, {"symmetric", "symmetric"}, {"cgnat-symmetric", "port"}, {"cgnat-symmetric", "ipv6-firewall"},
	{"no-udp", "port"}, {"web", "ipv6"}, {"ipv6", "ipv6"}, {"ipv6", "port"}, {"ipv6-firewall", "ipv6-firewall"}, {"ipv6-firewall", "ipv6"},
}

// TestReach is the short form of the tables.
func TestReach(t *testing.T) {
	if err := cmp.Or(natlab.Available(), natlab.TUNAvailable()); err != nil {
		t.Skip("no lab here: ", err)
	}
	o := &options{parallel: 4, connect: 15 * time.Second, patience: 3 * time.Second}
	var err error
	if o.bin, err = e2e.Build(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	var pairs []*pair
	for _, names := range short {
		pairs = append(pairs, &pair{a: named(t, names[0]), b: named(t, names[1])})
	}
	measureAll(t.Context(), o, pairs, func(p *pair) { t.Log(p) })
	for _, p := range pairs {
		if p.misses() {
			t.Error(p)
		}
	}
}

func named(t *testing.T, kind string) place {
	t.Helper()
	i := slices.IndexFunc(places, func(p place) bool { return p.kind == kind })
	if i < 0 {
		t.Fatalf("no place is named %q", kind)
	}
	return places[i]
}

// What has to be direct, and what counts as a miss.
func TestDirect(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"public", "symmetric", true}, {"address", "cgnat-symmetric", true}, {"port", "port", true}, {"cgnat-port", "port", true},
		{"port", "symmetric", false}, {"symmetric", "symmetric", false}, {"ipv6-firewall", "symmetric", false},
		{"ipv6", "ipv6-firewall", true}, {"ipv6", "public", false}, {"no-udp", "public", false}, {"web", "web", false},
	} {
		a, b := named(t, tt.a), named(t, tt.b)
		if direct(a, b) != tt.want || direct(b, a) != tt.want {
			t.Errorf("%s and %s: direct %v and %v, want %v", tt.a, tt.b, direct(a, b), direct(b, a), tt.want)
		}
		for path, want := range map[peer.PathKind]bool{peer.PathDirect: false, peer.PathRelayed: tt.want, peer.PathNone: true} {
			if p := (&pair{a: a, b: b, path: path}); p.misses() != want {
				t.Errorf("%v: a miss: %v, want %v", p, p.misses(), want)
			}
		}
	}
}
