package behavior

import (
	"net/netip"
	"testing"
)

func TestJudgeFiltering(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    filterFacts
		want Dependence
	}{
		{"nothing came", filterFacts{}, Unknown},
		{"all came", filterFacts{reference: true, able: true, two: true, both: true, port: true}, EndpointIndependent},
		{"the reference was lost", filterFacts{both: true, port: true}, EndpointIndependent},
		{"the reference alone was lost, and more", filterFacts{port: true}, Unknown},
		{"from the other port", filterFacts{reference: true, able: true, two: true, port: true}, AddressDependent},
		{"from nowhere else", filterFacts{reference: true, able: true, two: true}, AddressAndPortDependent},
		{"one address, from the other port", filterFacts{reference: true, able: true, port: true, bothRefused: true}, Unknown},
		{"one address, from nowhere else", filterFacts{reference: true, able: true, bothRefused: true}, AddressAndPortDependent},
		{"one address, refused", filterFacts{reference: true, able: true, bothRefused: true, portRefused: true}, Unknown},
		{"a server that drops what it does not know", filterFacts{reference: true}, Unknown},
		{"two addresses promised, the change refused", filterFacts{reference: true, able: true, two: true, port: true, bothRefused: true}, Unknown},
	} {
		if got := judgeFiltering(tt.f); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestJudgeClassic(t *testing.T) {
	const ei, ad, apd = EndpointIndependent, AddressDependent, AddressAndPortDependent
	for _, tt := range []struct {
		mapping, filtering Dependence
		want               Classic
	}{
		{None, None, OpenInternet}, {None, ad, SymmetricFirewall}, {None, apd, SymmetricFirewall}, {None, Unknown, ""},
		{ei, ei, FullCone}, {ei, ad, RestrictedCone}, {ei, apd, PortRestrictedCone}, {ei, Unknown, ""},
		{ad, Unknown, Symmetric}, {apd, ei, Symmetric}, {apd, apd, Symmetric},
		{Unknown, apd, ""}, {Unknown, Unknown, ""},
	} {
		if got := judgeClassic(tt.mapping, tt.filtering); got != tt.want {
			t.Errorf("%q, %q: %q, want %q", tt.mapping, tt.filtering, got, tt.want)
		}
	}
}

func TestJudgePorts(t *testing.T) {
	for _, tt := range []struct {
		name     string
		mapped   []uint16 // of the local ports 50000, 50010, 50020, …
		preserve *bool
		want     Allocation
	}{
		{"too few", []uint16{50000, 50010, 50020}, nil, ""},
		{"all", []uint16{50000, 50010, 50020, 50030}, ptr(true), Preserving},
		{"two taken by others", []uint16{50000, 1234, 50020, 50030, 9999, 50050}, ptr(true), Preserving},
		{"half", []uint16{50000, 50010, 1234, 9999}, ptr(false), Random},
		{"one after the other", []uint16{30000, 30001, 30002, 30003, 30004}, ptr(false), Sequential},
		{"backwards, overtaken, with others in between", []uint16{30020, 30001, 30011, 30003, 29990}, ptr(false), Sequential},
		{"at the upper end", []uint16{65533, 65534, 65535, 65530, 1024, 1025, 1026, 1027}, ptr(false), Sequential},
		{"random", []uint16{1024, 61000, 3333, 45678, 23456, 12345, 54321, 40000}, ptr(false), Random},
		{"two near by chance", []uint16{1024, 1030, 3333, 45678, 23456, 12345, 54321, 40000}, ptr(false), Random},
	} {
		var all []sample
		for i, p := range tt.mapped {
			all = append(all, sample{50000 + 10*uint16(i), p})
		}
		if preserve, got := judgePorts(all); got != tt.want || !equal(preserve, tt.preserve) {
			t.Errorf("%s: %q, %s, want %q, %s", tt.name, got, text(preserve), tt.want, text(tt.preserve))
		}
	}
}

func TestFirewalled(t *testing.T) {
	for filtering, want := range map[Dependence]*bool{
		Unknown: nil, None: ptr(false), EndpointIndependent: ptr(false), AddressDependent: ptr(true), AddressAndPortDependent: ptr(true),
	} {
		if got := (Result{Filtering: filtering}).Firewalled(); !equal(got, want) {
			t.Errorf("%q: %s, want %s", filtering, text(got), text(want))
		}
	}
}

func TestPing(t *testing.T) {
	live, dead := newServer(t), netip.MustParseAddrPort("127.0.0.1:9")
	got := Ping(t.Context(), Config{}, []netip.AddrPort{live, dead})
	if len(got) != 1 || got[live] <= 0 {
		t.Errorf("got %v, want %v alone", got, live)
	}
}
