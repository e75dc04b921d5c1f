package tun

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestIsUsable(t *testing.T) {
	tests := []struct {
		addr  string
		flags int
		want  bool
	}{
		{"192.168.1.2", unix.IFA_F_PERMANENT, true},
		{"192.168.1.3", unix.IFA_F_SECONDARY, true},
		{"100.64.0.2", 0, true},
		{"203.0.113.7", 0, true},
		{"169.254.1.1", 0, false},
		{"127.0.0.1", 0, false},
		{"224.0.0.1", 0, false},
		{"2001:db8::1", unix.IFA_F_PERMANENT, true},
		{"2001:db8::1", unix.IFA_F_MANAGETEMPADDR, true},
		{"fd00::1", 0, true},
		{"2001:db8::2", unix.IFA_F_TEMPORARY, false},
		{"2001:db8::3", unix.IFA_F_DEPRECATED, false},
		{"2001:db8::4", unix.IFA_F_TENTATIVE, false},
		{"2001:db8::5", unix.IFA_F_DADFAILED | unix.IFA_F_PERMANENT, false},
		{"fe80::1", unix.IFA_F_PERMANENT, false},
		{"::1", unix.IFA_F_PERMANENT, false},
	}
	for _, tt := range tests {
		if got := isUsable(netip.MustParseAddr(tt.addr), tt.flags); got != tt.want {
			t.Errorf("isUsable(%s, %#x) = %v, want %v", tt.addr, tt.flags, got, tt.want)
		}
	}
}

func TestLocalAddrs(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "eth0", "192.168.1.2/24", "192.168.1.3/24", "2001:db8::2/64", "169.254.3.3/16", "fe80::2/64")
	eth1 := addVeth(t, "eth1", "203.0.113.7/24", "2001:db8:1::1/64")
	old := interfaceAddr(netip.MustParsePrefix("2001:db8:1::2/64"))
	old.ValidLft, old.PreferedLft = 1000, 0 // deprecated
	must(t, netlink.AddrAdd(eth1, old))

	down := addVeth(t, "eth2", "198.51.100.1/24")
	must(t, netlink.LinkSetDown(down))
	addVeth(t, "eth3", "198.51.100.2/24")
	unplugged, err := netlink.LinkByName("eth3-peer")
	must(t, err)
	must(t, netlink.LinkSetDown(unplugged))

	addVeth(t, "wg0", "10.1.0.1/24")
	addVeth(t, "docker0", "172.17.0.1/16")
	another := addVeth(t, "br-lan", "192.168.7.1/24")

	want := addrs("192.168.1.2", "192.168.1.3", "192.168.7.1", "203.0.113.7", "2001:db8::2", "2001:db8:1::1")
	wantLocalAddrs(t, "at first", want)

	must(t, netlink.LinkSetUp(unplugged))
	want = append(want, netip.MustParseAddr("198.51.100.2"))
	wantLocalAddrs(t, "cable plugged in", want)

	must(t, netlink.LinkDel(another))
	want = slices.DeleteFunc(want, func(a netip.Addr) bool { return a.String() == "192.168.7.1" })
	wantLocalAddrs(t, "bridge gone", want)
}

// The node's own interface is left out whatever it is called.
func TestLocalAddrsWithoutOwn(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	addVeth(t, "eth0", "192.168.1.2/24")
	iface, err := Open(Config{Name: "home", Prefixes: prefixes("10.77.0.2/16", "fd77::2/64")})
	must(t, err)
	defer iface.Close()
	wantLocalAddrs(t, "with own interface", addrs("192.168.1.2"))
}

func wantLocalAddrs(t *testing.T, when string, want []netip.Addr) {
	t.Helper()
	got, err := LocalAddrs()
	must(t, err)
	slices.SortFunc(want, netip.Addr.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", when, got, want)
	}
}

func addrs(list ...string) []netip.Addr {
	var addrs []netip.Addr
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs
}

func prefixes(list ...string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, s := range list {
		prefixes = append(prefixes, netip.MustParsePrefix(s))
	}
	return prefixes
}
