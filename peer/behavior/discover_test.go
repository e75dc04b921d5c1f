package behavior

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func ptr(b bool) *bool { return &b }

func equal(a, b *bool) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

func text(b *bool) string {
	switch {
	case b == nil:
		return "null"
	case *b:
		return "true"
	}
	return "false"
}

// TestDiscover runs all tests against NATs of each kind, in virtual time: what they
// find, and that they find it in time.
func TestDiscover(t *testing.T) {
	const ei, ad, apd = EndpointIndependent, AddressDependent, AddressAndPortDependent
	ms := time.Millisecond
	for _, tt := range []struct {
		name    string
		nat     *fakeNAT
		servers []netip.AddrPort
		want    Result
		within  time.Duration
	}{
		{"open", &fakeNAT{mapping: None, filtering: ei, addresses: 2}, nil,
			Result{Mapping: None, Filtering: None, Classic: OpenInternet, PortPreserving: ptr(true), Allocation: Preserving, Complete: true}, 1200 * ms},
		{"firewall", &fakeNAT{mapping: None, filtering: apd, addresses: 2}, nil,
			Result{Mapping: None, Filtering: apd, Classic: SymmetricFirewall, PortPreserving: ptr(true), Allocation: Preserving, Complete: true}, 1200 * ms},
		{"full cone, hairpin", &fakeNAT{mapping: ei, filtering: ei, addresses: 2, hairpin: true}, nil,
			Result{Mapping: ei, Filtering: ei, Classic: FullCone, PortPreserving: ptr(true), Allocation: Preserving, Hairpin: ptr(true), Complete: true}, 500 * ms},
		{"restricted cone", &fakeNAT{mapping: ei, filtering: ad, addresses: 2}, nil,
			Result{Mapping: ei, Filtering: ad, Classic: RestrictedCone, PortPreserving: ptr(true), Allocation: Preserving, Hairpin: ptr(false), Complete: true}, 1200 * ms},
		{"port restricted cone, hairpin", &fakeNAT{mapping: ei, filtering: apd, addresses: 2, hairpin: true}, nil,
			Result{Mapping: ei, Filtering: apd, Classic: PortRestrictedCone, PortPreserving: ptr(true), Allocation: Preserving, Hairpin: ptr(true), Complete: true}, 1200 * ms},
		{"symmetric, random", &fakeNAT{mapping: apd, filtering: apd, allocation: Random, addresses: 2}, nil,
			Result{Mapping: apd, Filtering: apd, Classic: Symmetric, PortPreserving: ptr(false), Allocation: Random, Complete: true}, 1200 * ms},
		{"symmetric, sequential", &fakeNAT{mapping: apd, filtering: apd, allocation: Sequential, addresses: 2}, nil,
			Result{Mapping: apd, Filtering: apd, Classic: Symmetric, PortPreserving: ptr(false), Allocation: Sequential, Complete: true}, 1200 * ms},
		{"by address, filtering none", &fakeNAT{mapping: ad, filtering: ei, allocation: Random, addresses: 2}, nil,
			Result{Mapping: ad, Filtering: ei, Classic: Symmetric, PortPreserving: ptr(false), Allocation: Random, Complete: true}, 1200 * ms},
		{"far away", &fakeNAT{mapping: ei, filtering: apd, addresses: 2, delay: 350 * ms}, nil,
			Result{Mapping: ei, Filtering: apd, Classic: PortRestrictedCone, PortPreserving: ptr(true), Allocation: Preserving, Hairpin: ptr(false), Complete: true}, 2500 * ms},
		{"blocked", &fakeNAT{blocked: true, addresses: 2}, nil, Result{Classic: UDPBlocked}, 1700 * ms},

		{"one address, port restricted", &fakeNAT{mapping: ei, filtering: apd, addresses: 1}, []netip.AddrPort{first, second},
			Result{Mapping: ei, Filtering: apd, Classic: PortRestrictedCone, PortPreserving: ptr(true), Allocation: Preserving, Hairpin: ptr(false)}, 1200 * ms},
		{"one address, full or restricted", &fakeNAT{mapping: ei, filtering: ad, addresses: 1}, []netip.AddrPort{first, second},
			Result{Mapping: ei, PortPreserving: ptr(true), Allocation: Preserving, Hairpin: ptr(false)}, 1200 * ms},
		{"one address, symmetric", &fakeNAT{mapping: apd, filtering: apd, allocation: Random, addresses: 1}, []netip.AddrPort{first, second},
			Result{Mapping: apd, Filtering: apd, Classic: Symmetric, PortPreserving: ptr(false), Allocation: Random}, 1200 * ms},
		{"one address, refuses to change", &fakeNAT{mapping: ei, filtering: apd, addresses: 1, strict: true}, []netip.AddrPort{first, second},
			Result{Mapping: ei, PortPreserving: ptr(true), Allocation: Preserving, Hairpin: ptr(false)}, 1200 * ms},
		{"server without RFC 5780", &fakeNAT{mapping: ei, filtering: apd, addresses: 1, plain: true}, []netip.AddrPort{first, second},
			Result{Mapping: ei, PortPreserving: ptr(true), Allocation: Preserving, Hairpin: ptr(false)}, 1200 * ms},
		{"one port alone", &fakeNAT{mapping: ei, filtering: apd, addresses: 1, plain: true}, []netip.AddrPort{first},
			Result{PortPreserving: ptr(true), Allocation: Preserving}, 1200 * ms},
	} {
		for _, loss := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				nat := tt.nat
				if nat.delay == 0 {
					nat.delay = 10 * ms
				}
				within := tt.within
				if nat.lossy = loss; loss {
					within += 1000 * ms
				}
				servers := tt.servers
				if servers == nil {
					servers = []netip.AddrPort{first}
				}
				began := time.Now()
				r, err := Discover(t.Context(), nat.config(servers...))
				if err != nil {
					t.Fatal(err)
				}
				took, got, want := time.Since(began), r.IPv4, tt.want
				want.Sent, want.Answered, want.RTT = true, !nat.blocked, got.RTT
				if want.Answered {
					want.Address = nat.outside()
				}
				same := equal(got.Hairpin, want.Hairpin) && equal(got.PortPreserving, want.PortPreserving)
				got.Hairpin, got.PortPreserving, want.Hairpin, want.PortPreserving = nil, nil, nil, nil
				if got != want || !same {
					t.Errorf("%s, loss %v: got %+v, hairpin %s, preserving %s, want %+v, %s, %s", tt.name, loss, got,
						text(r.IPv4.Hairpin), text(r.IPv4.PortPreserving), want, text(tt.want.Hairpin), text(tt.want.PortPreserving))
				}
				if took > within {
					t.Errorf("%s, loss %v: took %v, want %v at most", tt.name, loss, took, within)
				}
				if !loss && got.Answered && (got.RTT < 2*nat.delay || got.RTT > 3*nat.delay) {
					t.Errorf("%s: round trip %v", tt.name, got.RTT)
				}
			})
		}
	}
}

// TestDiscoverIPv6: the same tests but those of ports and hairpinning, which nobody
// needs to know of; both families side by side.
func TestDiscoverIPv6(t *testing.T) {
	for _, tt := range []struct {
		nat        *fakeNAT
		filtering  Dependence
		firewalled *bool
	}{
		{&fakeNAT{mapping: None, filtering: EndpointIndependent, addresses: 2}, None, ptr(false)},
		{&fakeNAT{mapping: None, filtering: AddressAndPortDependent, addresses: 2}, AddressAndPortDependent, ptr(true)},
		{&fakeNAT{mapping: None, filtering: AddressAndPortDependent, addresses: 1}, AddressAndPortDependent, ptr(true)},
		{&fakeNAT{mapping: None, filtering: EndpointIndependent, addresses: 1}, Unknown, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			tt.nat.six, tt.nat.delay = true, 10*time.Millisecond
			cfg := tt.nat.config(first6, netip.AddrPortFrom(first6.Addr(), 3479), first)
			open, opened := cfg.Open, 0
			cfg.Open = func(ipv4 bool) (Socket, error) {
				if ipv4 {
					return (&fakeNAT{}).config().Open(true) // which leads nowhere
				}
				opened++
				return open(ipv4)
			}
			r, err := Discover(t.Context(), cfg)
			six := r.IPv6
			if err != nil || six.Mapping != None || six.Filtering != tt.filtering || six.Address != tt.nat.outside() || !equal(six.Firewalled(), tt.firewalled) {
				t.Errorf("%+v: got %+v, %v", tt.nat, six, err)
			}
			if six.Allocation != "" || six.Hairpin != nil || opened != 2 {
				t.Errorf("%d sockets, %+v", opened, six)
			}
			if r.IPv4.Answered {
				t.Errorf("IPv4: %+v", r.IPv4)
			}
		})
	}
}

// TestDiscoverEnds: it ends with its context, and takes its sockets with it (the
// bubble would not end else).
func TestDiscoverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := Discover(ctx, (&fakeNAT{blocked: true}).config(first)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// TestNoSockets: without sockets there is an error, and without a way out a family
// is not called blocked.
func TestNoSockets(t *testing.T) {
	broken := errors.New("no sockets")
	cfg := Config{Servers: []netip.AddrPort{first}, Open: func(bool) (Socket, error) { return nil, broken }}
	if _, err := Discover(t.Context(), cfg); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		cfg := (&fakeNAT{blocked: true}).config(first)
		open := cfg.Open
		cfg.Open = func(ipv4 bool) (Socket, error) {
			s, err := open(ipv4)
			return unroutable{s}, err
		}
		if r, err := Discover(t.Context(), cfg); err != nil || r.IPv4.Sent || r.IPv4.Classic != "" {
			t.Errorf("got %+v, %v", r, err)
		}
	})
}

type unroutable struct{ Socket }

func (unroutable) WriteTo([]byte, netip.AddrPort) error { return errors.New("network is unreachable") }

func TestLifetime(t *testing.T) {
	for _, tt := range []struct {
		nat  *fakeNAT
		want Span
		took time.Duration
		err  error
	}{
		{&fakeNAT{mapping: EndpointIndependent, filtering: AddressAndPortDependent, addresses: 1, timeout: 30 * time.Second},
			Span{25 * time.Second, 30 * time.Second}, 32 * time.Second, nil},
		{&fakeNAT{mapping: AddressAndPortDependent, filtering: AddressAndPortDependent, allocation: Random, addresses: 2, timeout: 95 * time.Second},
			Span{90 * time.Second, 105 * time.Second}, 107 * time.Second, nil},
		{&fakeNAT{mapping: None, filtering: None, addresses: 2}, Span{5 * time.Minute, 0}, 302 * time.Second, nil},
		{&fakeNAT{mapping: EndpointIndependent, addresses: 1, plain: true}, Span{}, 3 * time.Second, ErrNoResponsePort},
		{&fakeNAT{blocked: true}, Span{}, 3 * time.Second, errSilent},
	} {
		synctest.Test(t, func(t *testing.T) {
			tt.nat.delay = 10 * time.Millisecond
			began := time.Now()
			told := []time.Duration{}
			got, err := Lifetime(t.Context(), tt.nat.config(), first, Ages(), func(s Span) { told = append(told, s.Alive) })
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%+v: got %+v, %v, want %+v, %v", tt.nat, got, err, tt.want, tt.err)
			}
			if took := time.Since(began); took > tt.took {
				t.Errorf("%+v: took %v", tt.nat, took)
			}
			if !slices.IsSorted(told) || tt.want.Alive > 0 && told[len(told)-1] != tt.want.Alive {
				t.Errorf("progress: %v", told)
			}
		})
	}
}

// TestLifetimeServerDies: that is not taken for the end of a mapping.
func TestLifetimeServerDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nat := &fakeNAT{mapping: EndpointIndependent, addresses: 1, delay: time.Millisecond}
		time.AfterFunc(4*time.Second, func() {
			nat.mu.Lock()
			nat.blocked = true
			nat.mu.Unlock()
		})
		if got, err := Lifetime(t.Context(), nat.config(), first, Ages(), func(Span) {}); !errors.Is(err, errSilent) || got.Dead != 0 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}
