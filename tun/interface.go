package tun

import (
	"fmt"
	"net/netip"
	"sync"

	wgtun "golang.zx2c4.com/wireguard/tun"
)

// Interface is a TUN interface that is up and has its addresses. It exists as
// long as this process holds it open: Close removes it, and so does the kernel
// when the process dies. All methods are safe for concurrent use.
type Interface struct {
	name     string
	mtu      int
	index    int
	prefixes []netip.Prefix // own addresses
	ipv4Only bool
	dev      packets

	mu   sync.Mutex         // guards mtus, and is held while routes change
	mtus map[netip.Addr]int // other than BaseMTU, as SetMTU was told

	closeOnce sync.Once
	closeErr  error
}

// AddressesChanged is why Watch reports, where all routes to the internet are as
// they were.
const AddressesChanged = "addresses changed"

// packets is the packet side of an interface.
type packets interface {
	wgtun.Device
	lowerPadding(max int)
}

// Device returns the packet side of the interface, for WireGuard's
// device.NewDevice. The interface is up before Device exists, so its first
// event is EventUp and none before it says down. A WireGuard device closes it
// when it is closed itself; Close is still to be called afterwards.
func (i *Interface) Device() wgtun.Device { return i.dev }

// Name returns the interface's name.
func (i *Interface) Name() string { return i.name }

// MTU returns the MTU of the interface, in bytes: the most of any address.
func (i *Interface) MTU() int { return i.mtu }

// IPv4Only says that IPv6 addresses were asked for and left out, because IPv6
// is switched off on this host.
func (i *Interface) IPv4Only() bool { return i.ipv4Only }

// Close removes the interface, and with it its addresses and routes. It waits
// until the device's goroutines have ended; later calls return the result of
// the first.
func (i *Interface) Close() error {
	i.closeOnce.Do(func() {
		if err := i.dev.Close(); err != nil {
			i.closeErr = fmt.Errorf("close interface %s: %w", i.name, err)
		}
	})
	return i.closeErr
}
