package e2e

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
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
			b.goroutines, a.goroutines, mib(b.heap), mib(a.heap), mib(b.rss), mib(a.rss))
		if a.goroutines > b.goroutines+soakGoroutines {
			t.Errorf("%s: goroutines grew from %d to %d", name, b.goroutines, a.goroutines)
		}
		if a.heap > b.heap+soakHeap {
			t.Errorf("%s: the heap grew from %.1f to %.1f MiB", name, mib(b.heap), mib(a.heap))
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

// usage is what a process uses; a hub tells its RSS alone.
type usage struct{ goroutines, heap, rss int }

// measure reads what the processes use.
func measure(t *testing.T, nodes []*Node, processes map[string]*Process) map[string]usage {
	t.Helper()
	all := make(map[string]usage)
	for name, p := range processes {
		u := usage{rss: residentBytes(t, p.PID())}
		for _, n := range nodes {
			if n.Name == name {
				profile(t, n, "heap?gc=1&debug=1", "# HeapAlloc = %d") // pools outlive one collection
				u.heap = profile(t, n, "heap?gc=1&debug=1", "# HeapAlloc = %d")
				u.goroutines = profile(t, n, "goroutine?debug=1", "goroutine profile: total %d")
			}
		}
		all[name] = u
	}
	return all
}

func residentBytes(t *testing.T, pid int) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int
		if _, err := fmt.Sscanf(lines.Text(), "VmRSS: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Fatalf("no VmRSS of process %d", pid)
	return 0
}

// profile asks a node's control socket for a number in one of its profiles.
func profile(t *testing.T, n *Node, name, format string) int {
	t.Helper()
	b, err := n.Profile(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var number int
		if _, err := fmt.Sscanf(lines.Text(), format, &number); err == nil {
			return number
		}
	}
	t.Fatalf("no %q in the profile of %s", format, n.Name)
	return 0
}

func mib(bytes int) float64 { return float64(bytes) / (1 << 20) }
