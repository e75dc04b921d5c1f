package tun

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A persistent interface of ours without a process goes away with its address
// and routes, and the new one has none of them.
func TestOpenReclaims(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	leaveBehind(t, Config{Name: "p2ptun0", MTU: 1500, Prefixes: prefixes("10.78.0.5/16")})
	old := linkIndex("p2ptun0")
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: old, Dst: ipNet("192.0.2.0/24")}))

	iface, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("10.77.0.2/16")})
	must(t, err)
	defer iface.Close()
	if got := linkIndex("p2ptun0"); got == old {
		t.Errorf("interface %d is still the old one", got)
	}
	for _, dst := range []string{"10.78.0.9", "192.0.2.9"} {
		if got := routedTo(dst); got != 0 {
			t.Errorf("%s still goes to interface %d", dst, got)
		}
	}
	must(t, iface.Close())
	if linkIndex("p2ptun0") != 0 {
		t.Error("the interface is still persistent")
	}
}

// leaveBehind makes an interface as Open does and leaves it as no crash can
// without help: persistent.
func leaveBehind(t *testing.T, cfg Config) {
	t.Helper()
	file, err := create(cfg.Name)
	must(t, err)
	defer file.Close()
	must(t, (&Interface{name: cfg.Name, mtu: cfg.MTU, prefixes: cfg.Prefixes}).configure())
	must(t, unix.IoctlSetInt(int(file.Fd()), unix.TUNSETPERSIST, 1))
}

func TestOpenNameTaken(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	addVeth(t, "eth0")
	foreign := netlink.NewLinkAttrs()
	foreign.Name = "tun0"
	must(t, netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: foreign, Mode: netlink.TUNTAP_MODE_TUN}))
	mine, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("10.77.0.2/16")})
	must(t, err)
	defer mine.Close()

	for _, tt := range []struct{ name, want string }{
		{"eth0", "taken by a veth interface that is not p2ptun's"},
		{"tun0", "taken by a tuntap interface that is not p2ptun's"},
		{"p2ptun0", "another p2ptun process is using it"},
	} {
		before := linkIndex(tt.name)
		_, err := Open(Config{Name: tt.name, Prefixes: prefixes("10.79.0.2/16")})
		wantHint(t, err, tt.want, "--interface")
		if got := linkIndex(tt.name); got != before {
			t.Errorf("%s: interface %d became %d", tt.name, before, got)
		}
	}
}

// A process that is killed leaves nothing, and the next one can start at once.
func TestOpenAfterKill(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	holder := exec.Command("/proc/self/exe")
	holder.Env = append(os.Environ(), roleEnv+"=holder")
	holder.Stderr = os.Stderr
	in, err := holder.StdinPipe() // open as long as this test runs
	must(t, err)
	defer in.Close()
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start()) // in the namespace of this thread
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "open\n" || linkIndex("p2ptun0") == 0 {
		t.Errorf("the other process says %q and has interface %d", line, linkIndex("p2ptun0"))
	}
	must(t, holder.Process.Kill())
	holder.Wait() // says that it was killed
	if linkIndex("p2ptun0") != 0 || routedTo("10.77.0.9") != 0 {
		t.Error("the interface outlived its process")
	}

	iface, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("10.77.0.2/16")})
	must(t, err)
	must(t, iface.Close())
}

// holdInterface is the process that TestOpenAfterKill kills. It also ends when
// its standard input does.
func holdInterface() {
	_, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("10.77.0.2/16")})
	if err != nil {
		fmt.Fprintln(os.Stderr, "holder:", err)
		os.Exit(1)
	}
	fmt.Println("open")
	bufio.NewReader(os.Stdin).ReadByte()
	os.Exit(0)
}
