package hub

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// compareFor is how long TestCompare takes for each load. To measure, and not
// just to see that it can:
//
//	go test ./signaling/hub -run TestCompare -compare 2s -v
var compareFor = flag.Duration("compare", 50*time.Millisecond, "compare the relay with pion/turn alone, each load for so long")

// udpGRO is Linux's UDP_GRO.
const udpGRO = 104

// relayProcess, in the environment, makes the test binary a relay of a kind.
const relayProcess = "P2PTUN_TEST_RELAY"

var compared = [2]identity{{node: config.NodeKey{1}}, {node: config.NodeKey{2}}}

// serveRelay is a relay until its parent has enough: the hub's, with so many
// listeners, or pion/turn as it comes. It says where it is, and credentials.
func serveRelay(kind string) error {
	if n, err := strconv.Atoi(kind); err == nil {
		listenersPerAddress = func() int { return n }
		return serveHub()
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	conn.(*net.UDPConn).SetReadBuffer(socketBuffer)
	_, err = turn.NewServer(turn.ServerConfig{
		Realm: realm,
		AuthHandler: func(r *turn.RequestAttributes) (string, []byte, bool) {
			return r.Username, turn.GenerateAuthKey(r.Username, realm, "x"), true
		},
		LoggerFactory: &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            conn,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"},
			PermissionHandler:     func(net.Addr, net.IP) bool { return true },
		}},
	})
	if err != nil {
		return err
	}
	fmt.Println(conn.LocalAddr(), "a", "x", "b", "x")
	io.Copy(io.Discard, os.Stdin)
	return nil
}

func serveHub() error {
	dir, err := os.MkdirTemp("", "hub")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	h, err := New(Config{
		Listen: "127.0.0.1:0", TURNListen: ":0", PublicAddrs: []netip.Addr{loopback}, State: dir,
		RelayRate: 1 << 40, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	h.admitted.allowLoopback = true
	h.admitted.hold(compared[0].network, relayFamilies[0].member)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	a, b := h.credentials.issue(compared[0]), h.credentials.issue(compared[1])
	fmt.Println(h.TURNAddr(), a.Username, a.Password, b.Username, b.Password)
	return h.Run(ctx)
}

// relayed is a relay in a process of its own, on a processor of its own.
type relayed struct {
	t                     *testing.T
	cmd                   *exec.Cmd
	a, b                  *rawTURN
	la, lb                *line
	peer                  *line
	toA, toB              netip.AddrPort
	plain, toPeer, inside [][]byte
}

func startRelay(t *testing.T, kind, processors string, joined bool) *relayed {
	t.Helper()
	cmd := exec.Command("taskset", "-c", processors, os.Args[0])
	cmd.Env = append(os.Environ(), relayProcess+"="+kind, "GOMAXPROCS="+strconv.Itoa(1+strings.Count(processors, ",")))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	said, err := bufio.NewReader(out).ReadString('\n')
	w := strings.Fields(said)
	if err != nil || len(w) != 5 {
		t.Fatalf("the relay said %q: %v", said, err)
	}
	r := &relayed{t: t, cmd: cmd, plain: payloads(slices.Repeat([]int{burstSize}, burstOf)...)}
	f := relayFamilies[0]
	join := func(from netip.Addr, user, password string) (*rawTURN, netip.AddrPort) {
		c := newRawTURN(t, netip.MustParseAddrPort(w[0]), from.String(), &signaling.Credentials{Username: user, Password: password})
		var at stun.XORMappedAddress
		if err := at.GetFromAs(c.ask(stun.MethodAllocate, overUDP), stun.AttrXORRelayedAddress); err != nil {
			t.Fatal(err)
		}
		return c, addrPort(&net.UDPAddr{IP: at.IP, Port: at.Port})
	}
	r.a, r.toA = join(f.a, w[1], w[2])
	r.b, r.toB = join(f.b, w[3], w[4])
	r.peer = r.line(listenUDP(t, f.member), joined)
	for _, bind := range []struct {
		c  *rawTURN
		n  uint16
		to netip.AddrPort
	}{{r.a, 0x4000, r.peer.addr}, {r.a, 0x4001, r.toB}, {r.b, 0x4001, r.toA}} {
		if code := bind.c.bind(bind.n, bind.to); code != 0 {
			t.Fatalf("channel: error %d", code)
		}
	}
	r.la, r.lb = r.line(r.a.conn, joined), r.line(r.b.conn, joined)
	r.toPeer, r.inside = channelData(0x4000, 0, r.plain...), channelData(0x4001, 0, r.plain...)
	return r
}

// line sends and takes super-packets, or none.
func (r *relayed) line(conn *net.UDPConn, joined bool) *line {
	l := newLine(r.t, conn)
	if !joined {
		l.SetGSO(false)
		raw, _ := conn.SyscallConn()
		raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_UDP, udpGRO, 0) })
	}
	return l
}

// load sends from one line to another for a while, as much as goes, and tells
// what came and the relay's processor time.
func (r *relayed) load(during time.Duration, from *line, to netip.AddrPort, burst [][]byte, sink *line) (packets int, cpu time.Duration) {
	until := time.Now().Add(during)
	done := make(chan struct{})
	before := r.cpu()
	go func() {
		defer close(done)
		for time.Now().Before(until) {
			from.run.Reset(to)
			for _, d := range burst {
				from.run.Append(nil, d)
			}
			from.WriteRun(from.run)
		}
	}()
	for {
		sink.SetReadDeadline(until.Add(200 * time.Millisecond))
		b, err := sink.ReadBatch()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			r.t.Fatal(err)
		}
		for _, _, ok := b.Next(); ok; _, _, ok = b.Next() {
			packets++
		}
		b.Release()
	}
	<-done
	return packets, r.cpu() - before
}

// cpu is what the relay's threads have run, as the scheduler says.
func (r *relayed) cpu() (sum time.Duration) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", r.cmd.Process.Pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		if ran, _, ok := strings.Cut(string(text), " "); ok {
			n, _ := strconv.ParseInt(ran, 10, 64)
			sum += time.Duration(n)
		}
	}
	return sum
}

// TestCompare shows what a byte costs: this relay, with one listener and with
// two, and pion/turn alone.
func TestCompare(t *testing.T) {
	if out, err := exec.Command("taskset", "-acp", "0", strconv.Itoa(os.Getpid())).CombinedOutput(); err != nil {
		t.Skipf("%s: %v", out, err)
	}
	t.Cleanup(func() { // other tests have all processors again
		exec.Command("taskset", "-acp", fmt.Sprintf("0-%d", runtime.NumCPU()-1), strconv.Itoa(os.Getpid())).Run()
	})
	for _, joined := range []bool{false, true} {
		for _, relay := range []struct{ kind, processors string }{{"pion", "1"}, {"1", "1"}, {"1", "0,1"}, {"2", "0,1"}} {
			r := startRelay(t, relay.kind, relay.processors, joined)
			for _, way := range []struct {
				name       string
				from, sink *line
				to         netip.AddrPort
				burst      [][]byte
			}{
				{"up", r.la, r.peer, addrPort(r.a.conn.RemoteAddr()), r.toPeer},
				{"down", r.peer, r.la, r.toA, r.plain},
				{"inside", r.la, r.lb, addrPort(r.a.conn.RemoteAddr()), r.inside},
			} {
				n, cpu := r.load(*compareFor, way.from, way.to, way.burst, way.sink)
				t.Logf("joined %-5v %-6s relay %-4s on %-3s %7.0f kpps %6.2f CPU s/GB", joined, way.name, relay.kind, relay.processors,
					float64(n)/compareFor.Seconds()/1000, cpu.Seconds()/(float64(n)*burstSize/1e9))
			}
		}
	}
}
