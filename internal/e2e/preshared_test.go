package e2e

import (
	"bytes"
	be "encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/peer"
)

// keysFile is where a node keeps its preshared keys.
func (n *Node) keysFile() string { return filepath.Join(n.State(), "keys.json") }

// storedKey is the key in use, as stored, of a node that has one peer.
func (n *Node) storedKey() []byte {
	b, err := os.ReadFile(n.keysFile())
	var peers []struct {
		Keys [][]byte `json:"keys"`
		Use  int      `json:"use"`
	}
	if err != nil || json.Unmarshal(b, &peers) != nil || len(peers) != 1 {
		return nil
	}
	return peers[0].Keys[peers[0].Use]
}

// waitRenewed waits until both nodes have stored, and use, one key that is not
// the old one.
func (s *setup) waitRenewed(a, b *Node, old []byte) ([]byte, error) {
	for {
		key := a.storedKey()
		if len(key) == 32 && !bytes.Equal(key, old) && bytes.Equal(key, b.storedKey()) {
			return key, nil
		}
		if s.ctx.Err() != nil {
			return nil, fmt.Errorf("no new key: %w", s.ctx.Err())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestRenewals renews the session, and with it the preshared key, again and
// again under traffic both ways: nothing is lost.
func TestRenewals(t *testing.T) {
	s := newSetup(t)
	a, b := s.rig.Node(s.place("port", "a")), s.rig.Node(s.place("port", "b"))
	if _, err := b.Up(s.ctx, s.create(a)); err != nil {
		t.Fatal(err)
	}
	if err := s.waitNominated(a, b); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var floods sync.WaitGroup
	for _, f := range []flood{{a, b, address(0), address(1)}, {b, a, address(1), address(0)}} {
		floods.Go(func() {
			if sent, lost, err := f.run(stop); err != nil || lost > 0 {
				t.Errorf("%s to %s: %d of %d packets lost, %v", f.from.Name, f.to.Name, lost, sent, err)
			} else {
				t.Logf("%s to %s: none of %d packets lost", f.from.Name, f.to.Name, sent)
			}
		})
	}
	const renewals = 6
	var key []byte
	for i := range renewals {
		var err error
		if key, err = s.waitRenewed(a, b, key); err != nil {
			t.Errorf("renewal %d: %v", i, err)
			break
		}
		// A new address makes a new session, unless one is being made already.
		for _, x := range [][2]*Node{{a, b}, {b, a}} {
			if err := s.waitNominated(x[0], x[1]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := []*Node{a, b}[i%2].Host.AddAddr(); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	floods.Wait()
	for _, n := range []*Node{a, b} {
		st, err := n.Status(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if p := st.Peers[0]; !p.PresharedKey || p.PresharedSince == nil || p.State != peer.Connected {
			t.Errorf("%s: preshared key %v since %v", n.Name, p.PresharedKey, p.PresharedSince)
		}
	}
}

// flood is 200 numbered packets a second through the tunnel.
type flood struct {
	from, to *Node
	src, dst netip.Addr
}

// run sends until stop is closed, and counts what did not arrive.
func (f flood) run(stop <-chan struct{}) (sent, lost int, err error) {
	in, err := f.to.Host.ListenUDP(netip.AddrPortFrom(f.dst, 0))
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	out, err := f.from.Host.ListenUDP(netip.AddrPortFrom(f.src, 0))
	if err != nil {
		return 0, 0, err
	}
	defer out.Close()
	got := make(chan map[uint32]bool, 1)
	go func() { got <- f.count(in) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for packet := make([]byte, 200); ; sent++ {
		select {
		case <-tick.C:
		case <-stop:
			time.Sleep(200 * time.Millisecond) // what is still on its way
			in.SetReadDeadline(time.Now())
			return sent, sent - len(<-got), nil
		}
		be.BigEndian.PutUint32(packet, uint32(sent))
		if _, err := out.WriteToUDPAddrPort(packet, in.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
			return sent, 0, err
		}
	}
}

// count collects the numbers of what arrives until the deadline.
func (f flood) count(in *net.UDPConn) map[uint32]bool {
	seen := make(map[uint32]bool)
	for buf := make([]byte, 1500); ; {
		n, err := in.Read(buf)
		if err != nil {
			return seen
		}
		if n == 200 {
			seen[be.BigEndian.Uint32(buf)] = true
		}
	}
}

// TestKilled: a node that is killed, with its keys on disk, without them, or
// with a file that is damaged, is reached again at once.
func TestKilled(t *testing.T) {
	s := newSetup(t)
	a, b := s.rig.Node(s.place("port", "a")), s.rig.Node(s.place("port", "b"))
	invite := s.create(a)
	p, err := b.StartUp(s.ctx, invite)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.FirstPing(s.ctx, address(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.waitRenewed(a, b, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func() error
		says   string
	}{
		{"with its keys", func() error { return nil }, ""},
		{"with its keys again", func() error { return nil }, ""},
		{"without its keys", func() error { return os.Remove(b.keysFile()) }, ""},
		{"with damaged keys", func() error { return os.WriteFile(b.keysFile(), []byte("[{"), 0o600) }, "preshared keys cannot be read"},
	} {
		p.Signal(os.Kill)
		p.Wait()
		old := a.storedKey()
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if p, err = b.StartUp(s.ctx); err != nil {
			t.Fatal(err)
		}
		if err := a.FirstPing(s.ctx, address(1)); err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		t.Logf("%s: reached again after %v", c.name, took.Round(time.Millisecond))
		if took > firstPingGoal {
			t.Errorf("%s: reached again after %v, want at most %v", c.name, took, firstPingGoal)
		}
		if _, err := s.waitRenewed(a, b, old); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if !strings.Contains(p.Text(), c.says) {
			t.Errorf("%s: it does not say %q", c.name, c.says)
		}
	}
}
