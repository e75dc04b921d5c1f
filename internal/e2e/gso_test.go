package e2e

import (
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"golang.org/x/sys/unix"
)

// loseJoined has a host lose what UDP gives the kernel joined, as some drivers
// do: what is longer than any frame on its way out.
func loseJoined(host *natlab.Host) error {
	return host.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Name: "driver", Family: nftables.TableFamilyINet})
		chain := c.AddChain(&nftables.Chain{
			Name: "out", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
			&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
			&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: binaryutil.BigEndian.PutUint32(1500)},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
		return c.Flush()
	})
}

// TestMangledGSO: where the network loses joined datagrams a node notices, says
// so, and is fast all the same; --no-gso needs no test.
func TestMangledGSO(t *testing.T) {
	s := newSetupFor(t, time.Minute, "info")
	a, b := s.rig.Node(s.place("public", "a")), s.rig.Node(s.place("public", "b"))
	if err := loseJoined(a.Host); err != nil {
		t.Fatal(err)
	}
	invite, err := a.Up(s.ctx, "--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Up(s.ctx, invite, "--no-gso"); err != nil {
		t.Fatal(err)
	}
	const lost = "the network loses datagrams that leave joined"
	for deadline := time.Now().Add(10 * time.Second); ; {
		st, err := a.Status(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !st.Self.GSO.On && st.Self.GSO.Why == lost {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("status says %+v", st.Self.GSO)
		}
	}
	if st, err := b.Status(s.ctx); err != nil || st.Self.GSO.On || st.Self.GSO.Why != "switched off" {
		t.Errorf("with --no-gso: %+v, %v", st.Self.GSO, err)
	}
	if err := a.FirstPing(s.ctx, address(1)); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[*Node]*Node{a: b, b: a} {
		addr := address(0)
		if to == b {
			addr = address(1)
		}
		f, err := from.Send(s.ctx, to, addr, fileSize)
		if err != nil {
			t.Fatal(err)
		}
		if f.Took > 5*time.Second {
			t.Errorf("%s to %s: %d MiB took %v", from.Name, to.Name, f.Bytes>>20, f.Took)
		}
	}
}
