package e2e

import (
	"crypto/rand"
	wire "encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// roughLink loses, doubles and reorders.
var roughLink = natlab.Link{Delay: 2 * time.Millisecond, Jitter: time.Millisecond, Loss: 0.005, Duplicate: 0.02, Reorder: 0.03, Seed: 1}

// roughPlaces are pairs of machines with such a link, for each kind of path.
var roughPlaces = []struct {
	name  string
	path  peer.PathKind
	place func(s *setup) (a, b *natlab.Host)
}{
	{"direct", peer.PathDirect, public(roughLink)},
	{"relayed", peer.PathRelayed, func(s *setup) (a, b *natlab.Host) {
		return natlab.Must(natlab.Must(s.rig.Lab.NAT("a-home", natlab.Symmetric, natlab.Through(roughLink))).Host("a")), s.place("symmetric", "b")
	}},
	{"LAN", peer.PathDirect, onLAN(roughLink, false)},
}

// TestRoughLinks: what a network loses, doubles and reorders changes no byte of
// what comes out of the tunnel. The second run's binary has the race detector.
func TestRoughLinks(t *testing.T) {
	for _, race := range []bool{false, true} {
		for _, tt := range roughPlaces {
			name := tt.name
			if race {
				name += ", race detector"
			}
			t.Run(name, func(t *testing.T) {
				s := newSetup(t)
				if race {
					s.rig.Bin = raceBinary(t)
				}
				hostA, hostB := tt.place(s)
				a, b := s.rig.Node(hostA), s.rig.Node(hostB)
				if _, err := b.Up(s.ctx, s.create(a)); err != nil {
					t.Fatal(err)
				}
				if err := b.FirstPing(s.ctx, address(0)); err != nil {
					t.Fatal(err)
				}
				if err := s.waitPath(a, b, tt.path, time.Now().Add(3*time.Second)); err != nil {
					t.Fatal(err)
				}
				var all errgroup.Group
				for _, x := range []struct {
					from, to *Node
					addr     netip.Addr
				}{{a, b, address(1)}, {b, a, address(0)}} {
					all.Go(func() error {
						_, err := x.from.Send(s.ctx, x.to, x.addr, 2<<20)
						return err
					})
				}
				s.datagrams(a, b, address(1))
				if err := all.Wait(); err != nil {
					t.Error(err)
				}
				for _, n := range s.rig.Nodes {
					if strings.Contains(n.Log(), "DATA RACE") {
						t.Errorf("%s has a data race", n.Name)
					}
				}
			})
		}
	}
}

// raceBinary is the program with the race detector.
func raceBinary(t *testing.T) string {
	t.Helper()
	bin, err := Build(t.TempDir(), "-race")
	if err != nil {
		t.Skip("no race detector here: ", err)
	}
	return bin
}

// datagrams sends some of all lengths at once. Each that arrives is whole, and
// does so once.
func (s *setup) datagrams(from, to *Node, addr netip.Addr) {
	s.t.Helper()
	const count = 3000
	in, err := to.Host.ListenUDP(netip.AddrPortFrom(addr, 0))
	if err != nil {
		s.t.Fatal(err)
	}
	defer in.Close()
	out, err := from.Host.ListenUDP(netip.AddrPort{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	in.SetReadBuffer(8 << 20)
	target := in.LocalAddr().(*net.UDPAddr).AddrPort()
	go func() {
		for i := range count {
			b := make([]byte, 8+i*7%1180)
			rand.Read(b)
			wire.BigEndian.PutUint32(b, uint32(i))
			wire.BigEndian.PutUint32(b[len(b)-4:], crc32.ChecksumIEEE(b[:len(b)-4]))
			_, _ = out.WriteToUDPAddrPort(b, target)
			if i%5 == 4 {
				time.Sleep(time.Millisecond) // 5,000 a second at most
			}
		}
	}()
	seen := make(map[uint32]bool)
	buf := make([]byte, 2048)
	for len(seen) < count {
		in.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := in.Read(buf)
		if err != nil {
			break
		}
		i := wire.BigEndian.Uint32(buf)
		if n < 8 || n != 8+int(i)*7%1180 || crc32.ChecksumIEEE(buf[:n-4]) != wire.BigEndian.Uint32(buf[n-4:]) {
			s.t.Fatalf("a datagram of %d bytes is not as it was sent", n)
		}
		if seen[i] {
			s.t.Fatalf("datagram %d came twice", i)
		}
		seen[i] = true
	}
	s.t.Logf("%d of %d datagrams arrived", len(seen), count)
	if len(seen) < count/2 { // under the race detector queues run over
		s.t.Errorf("%d of %d datagrams arrived", len(seen), count)
	}
}

// cutDirect has a host lose UDP from and to another; joined ends it.
func cutDirect(host, other *natlab.Host) (join func() error, err error) {
	var c *nftables.Conn
	var table *nftables.Table
	err = host.Do(func() error {
		if c, err = nftables.New(); err != nil {
			return err
		}
		table = c.AddTable(&nftables.Table{Name: "cut", Family: nftables.TableFamilyIPv4})
		for offset, hook := range map[uint32]*nftables.ChainHook{12: nftables.ChainHookInput, 16: nftables.ChainHookOutput} {
			chain := c.AddChain(&nftables.Chain{
				Name: map[uint32]string{12: "in", 16: "out"}[offset], Table: table, Type: nftables.ChainTypeFilter,
				Hooknum: hook, Priority: nftables.ChainPriorityFilter,
			})
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
				&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4, DestRegister: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: other.Addr().AsSlice()},
				&expr.Verdict{Kind: expr.VerdictDrop},
			}})
		}
		return c.Flush()
	})
	return func() error {
		return host.Do(func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			c.DelTable(table)
			return c.Flush()
		})
	}, err
}

// TestPathSwitch: a transfer goes on from a direct path over a relay to a direct
// one again, by one TCP connection.
func TestPathSwitch(t *testing.T) {
	s := newSetupFor(t, 2*time.Minute, "debug")
	a, b := s.rig.Node(s.place("public", "a")), s.rig.Node(s.place("public", "b"))
	if _, err := b.Up(s.ctx, s.create(a)); err != nil {
		t.Fatal(err)
	}
	if err := a.FirstPing(s.ctx, address(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.waitPath(a, b, peer.PathDirect, time.Now().Add(directGoal)); err != nil {
		t.Fatal(err)
	}
	stream, err := a.StartStream(s.ctx, b, address(1), 10<<20)
	if err != nil {
		t.Fatal(err)
	}
	s.progress(stream, "directly")
	join, err := cutDirect(a.Host, b.Host)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.waitPath(a, b, peer.PathRelayed, time.Now().Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	s.progress(stream, "relayed")
	if err := join(); err != nil {
		t.Fatal(err)
	}
	if err := s.waitPath(a, b, peer.PathDirect, time.Now().Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	s.progress(stream, "directly again")
	if err := stream.End(); err != nil {
		t.Error(err)
	}
}

// progress waits for some more of a stream to arrive.
func (s *setup) progress(stream *Stream, how string) {
	s.t.Helper()
	start, from := time.Now(), stream.Arrived()
	for stream.Arrived() < from+4<<20 {
		if s.ctx.Err() != nil {
			s.t.Fatalf("%s: %d bytes arrived", how, stream.Arrived()-from)
		}
		time.Sleep(time.Millisecond)
	}
	s.t.Logf("%s: 4 MiB more after %v", how, time.Since(start).Round(time.Millisecond))
}
