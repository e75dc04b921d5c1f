package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/sync/errgroup"
)

// What an idle node may cost the hub in memory, in bytes, and how many are
// counted. The goals are 22 and 8 KiB.
const (
	idleNodes    = 1000
	idleTLS      = 32 << 10
	idlePlain    = 20 << 10
	idleNetwork  = 10 // nodes to a network
	idleDeadline = time.Minute
)

// TestIdleMemory: a thousand nodes that say nothing cost the hub little, with
// TLS and without.
func TestIdleMemory(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		most int
	}{
		"TLS": {nil, idleTLS}, "plain": {[]string{"--plain-http"}, idlePlain},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), idleDeadline)
			defer cancel()
			pid, link := idleHub(t, c.args...)
			if err := connectIdle(ctx, t, link, 0, idleNodes/10); err != nil { // what does not grow with the nodes
				t.Fatal(err)
			}
			before := rss(t, pid)
			if err := connectIdle(ctx, t, link, idleNodes/10, idleNodes+idleNodes/10); err != nil {
				t.Fatal(err)
			}
			each := (rss(t, pid) - before) / idleNodes
			t.Logf("%.1f KiB of memory for each of %d idle nodes", float64(each)/1024, idleNodes)
			if each > c.most {
				t.Errorf("%d bytes for each idle node, want at most %d", each, c.most)
			}
		})
	}
}

// idleHub runs a hub on loopback. It collects its garbage soon, as an idle hub
// has in the end.
func idleHub(t *testing.T, args ...string) (pid int, link config.HubLink) {
	t.Helper()
	args = append([]string{"hub", "--print-link", "--listen", "127.0.0.1:0", "--turn-listen", "127.0.0.1:0", "--public-addr", "127.0.0.1", "--state", t.TempDir(), "--log-level", "warn"}, args...)
	cmd := exec.CommandContext(t.Context(), binary(t), args...)
	cmd.Env = append(os.Environ(), "GOGC=10")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	link, err = config.ParseHubLink(strings.TrimPrefix(line, "hub link: "))
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, link
}

// rss is the anonymous memory of a process in bytes: without the files that it
// has mapped, its state and its program.
func rss(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "RssAnon:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// connectIdle connects nodes from..to and leaves them so until the test ends.
func connectIdle(ctx context.Context, t *testing.T, link config.HubLink, from, to int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for first := from; first < to; first += idleNetwork {
		g.Go(func() error {
			network := config.NewNetworkKey()
			for i := first; i < first+idleNetwork; i++ {
				ws, err := idleNode(ctx, link, network, i)
				if err != nil {
					return fmt.Errorf("node %d: %w", i, err)
				}
				t.Cleanup(func() { ws.Close() })
			}
			return nil
		})
	}
	return g.Wait()
}

// idleNode connects a member from an address that few others have: the hub
// limits strangers.
func idleNode(ctx context.Context, link config.HubLink, network config.NetworkPrivateKey, i int) (*Member, error) {
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i>>4), 1)}}
	return ConnectMember(ctx, link, network, i, from.DialContext)
}
