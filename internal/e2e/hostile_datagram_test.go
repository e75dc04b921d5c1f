package e2e

import (
	"crypto/rand"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/signaling"
	"golang.org/x/net/ipv4"
)

// TestHostileDatagrams: a stranger who has recorded what two machines said to each
// other without a hub repeats it, and floods; nothing comes of it, least of all an
// answer that is longer than what it sent.
func TestHostileDatagrams(t *testing.T) {
	t.Parallel()
	s, nodes := newNoHub(t, "public", "public")
	a, b := nodes[0], nodes[1]
	wire := sniff(t, b.Host)
	s.must(a, "down")
	if _, err := a.Up(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.within(noHubStartGoal, time.Now(), a, 1)
	var recorded [][]byte
	for _, f := range wire.stop() {
		if p := udp(f); len(p) > 0 && p[0] >= signaling.DatagramFirst && netip.AddrFrom4([4]byte(f[26:30])) == a.Host.Addr() {
			recorded = append(recorded, p)
		}
	}
	if len(recorded) < 3 {
		t.Fatalf("%d datagrams recorded, want an offer at least", len(recorded))
	}
	st, err := b.Status(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	stranger := natlab.Must(s.rig.Lab.PublicHost("stranger"))
	conn, err := stranger.ListenUDP(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sessions := count(b.Log(), `msg="new ICE session"`) + count(b.Log(), "Checking")
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.Host.Addr(), st.Self.Port))
	sent := 0
	send := func(p []byte) {
		conn.WriteTo(p, to)
		sent += len(p)
	}
	for range 20 {
		for _, p := range recorded {
			send(p)
			forged := append([]byte(nil), p...)
			forged[len(forged)-1] ^= 1
			send(forged)
		}
	}
	junk := make([]byte, signaling.MaxDatagram)
	for range 2000 {
		rand.Read(junk)
		junk[0] |= signaling.DatagramFirst
		send(junk)
	}
	received := 0
	buf := make([]byte, 2000)
	conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			break
		}
		received += n
	}
	t.Logf("%d datagrams recorded, %d bytes sent, %d received", len(recorded), sent, received)
	if total := len(recorded) * signaling.MaxDatagram * 40; received > total/2 {
		t.Errorf("%d bytes came back of %d that were repeated", received, total)
	}
	if now := count(b.Log(), `msg="new ICE session"`) + count(b.Log(), "Checking"); now != sessions {
		t.Errorf("%d new sessions", now-sessions)
	}
	p, err := b.Peer(s.ctx, a)
	if err != nil || netip.MustParseAddrPort(p.Remote.Address).Addr() != a.Host.Addr() {
		t.Errorf("b reaches a at %+v, %v", p.Remote, err)
	}
	s.within(noHubChangeGoal, time.Now(), b, 0)
}

// TestHostileBeacons: a neighbour on the LAN repeats beacons, and sends what is
// none; it learns nothing of them, and nobody is kept from anybody.
func TestHostileBeacons(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	home := natlab.Must(s.rig.Lab.NAT("home", natlab.PortRestricted))
	nodes := []*Node{s.rig.Node(natlab.Must(home.Host("a"))), s.rig.Node(natlab.Must(home.Host("b")))}
	a, b := nodes[0], nodes[1]
	evil := natlab.Must(home.Host("evil"))
	group := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("239.255.112.50:7032"))
	conn, err := evil.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), 7032))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := evil.Do(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		p := ipv4.NewPacketConn(conn)
		if err := p.JoinGroup(eth0, group); err != nil {
			return err
		}
		return p.SetMulticastInterface(eth0)
	}); err != nil {
		t.Fatal(err)
	}
	s.joinAll(nodes)
	s.killHub(nodes...)
	s.must(b, "down")
	if _, err := b.Up(s.ctx); err != nil { // it asks, and a answers
		t.Fatal(err)
	}
	s.must(a, "down")
	var beacons [][]byte
	conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	for {
		buf := make([]byte, 2000)
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			break
		}
		beacons = append(beacons, buf[:n])
		if n != signaling.BeaconSize {
			t.Errorf("a beacon of %d bytes, want %d", n, signaling.BeaconSize)
		}
	}
	if len(beacons) < 4 {
		t.Fatalf("%d beacons recorded", len(beacons))
	}
	s.must(b, "down")
	if _, err := b.Up(s.ctx); err != nil { // it has heard none in this run
		t.Fatal(err)
	}
	wire := sniff(t, a.Host)
	for range 200 {
		for _, p := range beacons {
			if _, err := conn.WriteTo(p, group); err != nil {
				t.Fatal(err)
			}
			conn.WriteTo(p[:len(p)-1], group)
		}
	}
	time.Sleep(2 * time.Second) // for what there might be to see
	toA := 0
	for _, f := range wire.stop() {
		if p := udp(f); len(p) > 0 && p[0] >= signaling.DatagramFirst && netip.AddrFrom4([4]byte(f[26:30])) == b.Host.Addr() {
			toA++
		}
	}
	t.Logf("%d beacons repeated, %d datagrams of b's to where a was", 200*len(beacons), toA)
	if toA > 60 {
		t.Errorf("%d datagrams for beacons that were repeated", toA)
	}
	start := time.Now()
	if _, err := a.Up(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.within(noHubStartGoal, start, b, 0)
}
