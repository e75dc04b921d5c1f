package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// roleEnv tells the test binary, run by itself, what it is there for.
const roleEnv = "P2PTUN_TUN_TEST_ROLE"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(roleEnv) == "holder":
		holdInterface()
	case os.Getenv(roleEnv) == "" && os.Geteuid() != 0:
		if code, err := runAsRoot(); err == nil {
			os.Exit(code)
		}
	}
	os.Exit(m.Run())
}

// runAsRoot runs the tests in a user namespace, where an ordinary user may make
// network namespaces. It fails where the system forbids that.
func runAsRoot() (exitCode int, err error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), roleEnv+"=rootless")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	if err := cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

// enterNamespace puts the test into an empty network namespace with a loopback.
// The test's thread is never unlocked: it ends with the test, and the namespace
// with it.
func enterNamespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of its own for the test: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
}

// needTUN skips the test where TUN interfaces cannot be made.
func needTUN(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(cloneDevice, os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no TUN driver for the test: %v", err)
	}
	f.Close()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// addVeth makes a pair of interfaces that are up, name and name-peer, with
// addrs on the first.
func addVeth(t testing.TB, name string, addrs ...string) netlink.Link {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: name + "-peer"}
	must(t, netlink.LinkAdd(veth))
	peer, err := netlink.LinkByName(veth.PeerName)
	must(t, err)
	for _, l := range []netlink.Link{veth, peer} {
		must(t, netlink.LinkSetIP6AddrGenMode(l, 1)) // no link-local addresses
		must(t, netlink.LinkSetUp(l))
	}
	for _, a := range addrs {
		must(t, netlink.AddrAdd(veth, interfaceAddr(netip.MustParsePrefix(a))))
	}
	return veth
}

func ipNet(prefix string) *net.IPNet {
	return interfaceAddr(netip.MustParsePrefix(prefix)).IPNet
}

func linkIndex(name string) int {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return 0
	}
	return link.Attrs().Index
}

// checkLeaks fails the test if it ends with more goroutines than it has now.
// The last instructions of a goroutine that is known to end get a moment.
func checkLeaks(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
			if time.Now().After(end) {
				buf := make([]byte, 1<<16)
				t.Fatalf("goroutines left:\n%s", buf[:runtime.Stack(buf, true)])
			}
		}
	})
}

// wantHint checks that err says what and has advice that says hint.
func wantHint(t *testing.T, err error, what, hint string) {
	t.Helper()
	var h interface{ Hint() string }
	if !errors.As(err, &h) {
		t.Fatalf("error %v has no hint", err)
	}
	for _, c := range []struct{ name, got, want string }{
		{"error", fmt.Sprint(err), what},
		{"hint", h.Hint(), hint},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("%s %q does not say %q", c.name, c.got, c.want)
		}
	}
}
