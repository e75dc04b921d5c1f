package tunnel

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
	"golang.zx2c4.com/wireguard/conn"
)

// TestCrossing plays an initiation that arrives while ours may be under way.
func TestCrossing(t *testing.T) {
	initiation := wireGuardMessage(typeInitiation, initiationSize)
	response := wireGuardMessage(typeResponse, responseSize)
	answer, other := slices.Clone(response), slices.Clone(response)
	copy(answer[8:12], initiation[4:8]) // its receiver is the initiation's sender
	copy(other[8:12], []byte{9, 9, 9, 9})
	remote := netip.MustParseAddrPort(one)
	tests := []struct {
		name    string
		leads   bool
		before  func(b *Bind, e *Endpoint)
		deliver bool     // does the device get it?
		want    []string // what leaves
	}{
		{"leader, ours under way", true, func(b *Bind, e *Endpoint) { b.Send([][]byte{initiation}, e) }, false, []string{"1>" + one, "again 1>" + one}},
		{"the other side, ours under way", false, func(b *Bind, e *Endpoint) { b.Send([][]byte{initiation}, e) }, true, []string{"1>" + one, "again 1>" + one}},
		{"leader, nothing sent", true, func(*Bind, *Endpoint) {}, true, nil},
		{"leader, ours answered", true, func(b *Bind, e *Endpoint) {
			b.Send([][]byte{initiation}, e)
			arrive(b, response, remote)
		}, false, []string{"1>" + one}},
		{"leader, ours answered a while ago", true, func(b *Bind, e *Endpoint) {
			b.Send([][]byte{initiation}, e)
			arrive(b, response, remote)
			time.Sleep(overtaken + 1)
		}, true, []string{"1>" + one}},
		{"leader, ours long lost", true, func(b *Bind, e *Endpoint) {
			b.Send([][]byte{initiation}, e)
			time.Sleep(crossingWindow + 1)
		}, true, []string{"1>" + one, "1>" + one}},
		{"leader, response to another sent last", true, func(b *Bind, e *Endpoint) {
			b.Send([][]byte{initiation}, e)
			b.Send([][]byte{other}, e)
		}, true, []string{"1>" + one, "2>" + one}},
		{"the initiation was answered, and comes again", false, func(b *Bind, e *Endpoint) {
			b.Send([][]byte{answer}, e)
		}, false, []string{"2>" + one, "2>" + one}},
		{"the initiation was answered long ago", false, func(b *Bind, e *Endpoint) {
			b.Send([][]byte{answer}, e)
			time.Sleep(handshakeKeep)
		}, true, []string{"2>" + one}},
		{"leader, ours left with the path", true, func(b *Bind, e *Endpoint) {
			e.SetPath(Path{})
			b.Send([][]byte{initiation}, e)
			e.SetPath(Path{Remote: remote})
		}, false, []string{"1>" + one, "again 1>" + one}},
		{"ours still waits for a path", false, func(b *Bind, e *Endpoint) {
			e.SetPath(Path{})
			b.Send([][]byte{initiation}, e)
			first := slices.Clone(initiation)
			first[8]++
			arrive(b, first, remote)
			e.SetPath(Path{Remote: remote})
		}, true, nil},
		{"a copy of what the device has just been given", false, func(b *Bind, _ *Endpoint) {
			arrive(b, initiation, remote)
		}, false, nil},
		{"the same again, because nobody answered", false, func(b *Bind, _ *Endpoint) {
			arrive(b, initiation, remote)
			time.Sleep(againAfter)
		}, true, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, c := newFake()
				e := b.NewEndpoint(nameA, nil)
				if tt.leads {
					e.Lead()
				}
				e.SetPath(Path{Remote: remote})
				tt.before(b, e)
				if got := arrive(b, initiation, remote); got != tt.deliver {
					t.Errorf("delivered: %v, want %v", got, tt.deliver)
				}
				got := sentTypes(c)
				time.Sleep(againAfter + 1)
				synctest.Wait()
				for _, again := range sentTypes(c) {
					got = append(got, "again "+again)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("sent %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// arrive reports whether the device gets a packet from an address.
func arrive(b *Bind, p []byte, from netip.AddrPort) bool {
	return b.accept([][]byte{p}, []int{len(p)}, make([]conn.Endpoint, 1), udpbatch.Arrival{From: from})
}

// TestInitiationsCross has packets waiting on both sides of two real devices
// when the path comes.
func TestInitiationsCross(t *testing.T) {
	for range 10 {
		a, b := newSides(t)
		a.peer.Lead()
		a.tun.Outbound <- a.packetTo(b, 1)
		b.tun.Outbound <- b.packetTo(a, 2)
		next(t, a.wants)
		next(t, b.wants)
		start := time.Now()
		a.peer.AddSource(nil, b.outer)
		b.peer.AddSource(nil, a.outer)
		a.peer.SetPath(Path{Remote: b.outer})
		b.peer.SetPath(Path{Remote: a.outer})
		if got := number(next(t, b.tun.Inbound)); got != 1 {
			t.Errorf("packet %d arrived, want 1", got)
		}
		if got := number(next(t, a.tun.Inbound)); got != 2 {
			t.Errorf("packet %d arrived, want 2", got)
		}
		if took := time.Since(start); took > soon {
			t.Fatalf("first packets after %v, want at most %v", took, soon)
		}
	}
}
