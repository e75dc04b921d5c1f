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

// points: a member names a bystander's address, in as many candidates as go. It
// gets what RFC 8445 allows to be sent to an address that does not answer, and
// nothing of a list that is longer.
func (l *memberLab) points(t *testing.T) {
	v := l.bystander(t, 33)
	for i, port := range v.ports {
		l.mallory.answers = append(l.mallory.answers, candidate(i, netip.AddrPortFrom(v.host.Addr(), port)))
	}
	before := l.counted(l.b, "sealed message")
	l.mallory.send(l.mallory.offer(l.keyB))
	l.until(t, seconds(5), "too long a list is refused", func() bool { return l.counted(l.b, "sealed message") > before })
	if n := v.packets.Load(); n > 0 {
		t.Errorf("%d packets for a list that is too long", n)
	}
	const watch = 4
	l.mallory.answers = l.mallory.answers[1:]
	offer := l.mallory.offer(l.keyB)
	l.mallory.send(offer)
	time.Sleep(watch * time.Second)
	packets, bytes := v.packets.Load(), v.bytes.Load()
	t.Logf("an offer of %d bytes brought a bystander %d packets, %d bytes, in %d s", len(offer.Sealed), packets, bytes, watch)
	if most := int64(32 * (5 + watch + 1)); packets == 0 || packets > most {
		t.Errorf("%d packets, want at most %d", packets, most)
	}
}
