package hub

import (
	"slices"
	"testing"
)

// ways are the three that a packet may go; each sends a burst and waits for it.
type ways struct {
	up, down, inside func()
	h                *testHub
}

// burstOf is what the benchmarks send at a time: a super-packet.
const burstOf, burstSize = 50, 1280

func newWays(t testing.TB, singly bool) ways {
	h := startLineHub(t, loopback)
	ida, idb := twoMembers()
	f := relayFamilies[0]
	a, b, peer := newCaller(t, h, ida, f.a), newCaller(t, h, idb, f.b), listenLine(t, f.member)
	h.admitted.hold(ida.network, f.member)
	a.bind(0x4000, peer.addr)
	a.bind(0x4001, b.relayed)
	b.bind(0x4002, a.relayed)
	if singly {
		for _, l := range []*line{a.line, b.line, peer} {
			l.SetGSO(false)
		}
	}
	plain := payloads(slices.Repeat([]int{burstSize}, burstOf)...)
	toPeer, toB := channelData(0x4000, 0, plain...), channelData(0x4001, 0, plain...)
	return ways{h: h,
		up:     func() { a.send(a.server, toPeer...); peer.count(burstOf) },
		down:   func() { peer.send(a.relayed, plain...); a.count(burstOf) },
		inside: func() { a.send(a.server, toB...); b.count(burstOf) },
	}
}

// BenchmarkForward carries bursts of 50 packets of 1,280 bytes; the time is
// that of sender, hub and receiver together.
func BenchmarkForward(b *testing.B) {
	for _, singly := range []bool{false, true} {
		w := newWays(b, singly)
		name := "joined"
		if singly {
			name = "singly"
		}
		for way, f := range map[string]func(){"up": w.up, "down": w.down, "inside": w.inside} {
			b.Run(name+"/"+way, func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(burstOf * burstSize)
				for b.Loop() {
					f()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(burstOf*b.N), "ns/packet")
			})
		}
		w.h.stop()
	}
}
