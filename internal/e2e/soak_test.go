package e2e

import (
	"flag"
	"net/netip"
	"sync"
	"testing"
	"time"
)

var soakTime = flag.Duration("soak", 10*time.Second, "how long TestSoak runs")

// What a node may have more at the end than after its warm-up.
const (
	soakGoroutines = 5
	soakHeap       = 8 << 20 // bytes, right after a garbage collection
)

// TestSoak runs three nodes, two behind port-restricted NATs and one behind a
// symmetric one, under traffic on all pairs. After a warm-up of a fifth of the
// time neither goroutines nor memory may grow.
func TestSoak(t *testing.T) {
	s := newSetupFor(t, *soakTime+2*time.Minute, "info")
	nodes := []*Node{s.rig.Node(s.place("port", "a")), s.rig.Node(s.place("port", "b")), s.rig.Node(s.place("symmetric", "c"))}
	processes := map[string]*Process{}
	invite := ""
	for i, n := range nodes {
		args := []string{invite}
		if i == 0 {
			args = []string{"--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String()}
		}
		p, err := n.StartUp(s.ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		processes[n.Name] = p
		if _, err := p.Expect(s.ctx, "p2ptun0 is up"); err != nil {
			t.Fatal(err)
		}
		if err := s.waitHub(n, true); err != nil {
			t.Fatal(err)
		}
		invite = s.invite(nodes[0])
	}
	processes["hub"] = s.hub.Process

	s.load(nodes, *soakTime/5)
	before := measure(t, nodes, processes)
	s.load(nodes, *soakTime*4/5)
	after := measure(t, nodes, processes)
	for name := range processes {
		b, a := before[name], after[name]
		t.Logf("%-4s goroutines %d → %d, heap %.1f → %.1f MiB, RSS %.1f → %.1f MiB", name,
			b.Goroutines, a.Goroutines, mib(b.Heap), mib(a.Heap), mib(b.RSS), mib(a.RSS))
		if a.Goroutines > b.Goroutines+soakGoroutines {
			t.Errorf("%s: goroutines grew from %d to %d", name, b.Goroutines, a.Goroutines)
		}
		if a.Heap > b.Heap+soakHeap {
			t.Errorf("%s: the heap grew from %.1f to %.1f MiB", name, mib(b.Heap), mib(a.Heap))
		}
	}
}

// load has each node send to the next for a while.
func (s *setup) load(nodes []*Node, d time.Duration) {
	var all sync.WaitGroup
	end := time.Now().Add(d)
	for i, n := range nodes {
		to := (i + 1) % len(nodes)
		all.Go(func() {
			sent := s.traffic(end, n, nodes[to], address(to))
			s.t.Logf("%s sent %d MiB to %s in %v", n.Name, sent>>20, nodes[to].Name, d)
			if sent == 0 {
				s.t.Errorf("%s sent nothing", n.Name)
			}
		})
	}
	all.Wait()
}

// traffic pings and copies 1 MiB files until the end, and returns the bytes.
func (s *setup) traffic(end time.Time, from, to *Node, addr netip.Addr) (sent int) {
	for time.Now().Before(end) {
		if err := from.FirstPing(s.ctx, addr); err != nil {
			s.t.Error(err)
			break
		}
		f, err := from.Send(s.ctx, to, addr, 1<<20)
		if err != nil {
			s.t.Error(err)
			break
		}
		sent += f.Bytes
	}
	return sent
}

// measure reads what the processes use.
func measure(t *testing.T, nodes []*Node, processes map[string]*Process) map[string]Usage {
	t.Helper()
	all := make(map[string]Usage)
	for _, n := range nodes {
		all[n.Name] = used(t, n, processes[n.Name].PID())
	}
	hub, err := Resident(processes["hub"].PID())
	if err != nil {
		t.Fatal(err)
	}
	all["hub"] = Usage{RSS: hub}
	return all
}

func used(t *testing.T, n *Node, pid int) Usage {
	t.Helper()
	u, err := n.Usage(t.Context(), pid)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func mib(bytes int) float64 { return float64(bytes) / (1 << 20) }
