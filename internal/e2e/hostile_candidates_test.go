package e2e

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// bystander is a host that has nothing to do with the network, and counts what
// it gets.
type bystander struct {
	host           *natlab.Host
	ports          []uint16
	packets, bytes atomic.Int64
}

func (l *hostileLab) bystander(t *testing.T, ports int) *bystander {
	t.Helper()
	v := &bystander{host: l.place("public", "bystander")}
	for range ports {
		conn, err := v.host.ListenUDP(netip.AddrPort{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		v.ports = append(v.ports, conn.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Port())
		go func() {
			for buf := make([]byte, 1500); ; {
				n, _, err := conn.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				v.packets.Add(1)
				v.bytes.Add(int64(n))
			}
		}()
	}
	return v
}

func candidate(i int, addr netip.AddrPort) string {
	return fmt.Sprintf("candidate:%d 1 udp %d %s %d typ host", i, 2130706431-i, addr.Addr(), addr.Port())
}

// points: a member names a bystander's address, in as many candidates as go, and
// makes one offer after the other.
func (l *memberLab) points(t *testing.T) {
	v := l.bystander(t, 32)
	for i, port := range v.ports {
		l.mallory.answers = append(l.mallory.answers, candidate(i, netip.AddrPortFrom(v.host.Addr(), port)))
	}
	start := time.Now()
	const offers = 3
	cost := 0
	for range offers {
		m := l.mallory.offer(l.keyB)
		cost += len(m.Sealed)
		l.mallory.send(m)
		time.Sleep(2 * time.Second)
	}
	took := time.Since(start).Seconds()
	t.Logf("%d offers of %d bytes in all; the bystander got %.0f packets and %.0f bytes a second", offers, cost, float64(v.packets.Load())/took, float64(v.bytes.Load())/took)
}
