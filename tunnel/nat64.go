package tunnel

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/internal/nat64"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
)

// nat64Retry is when the resolver is asked again that has not answered, doubling up to
// resolveEvery.
const nat64Retry = 2 * time.Second

// setAddresses takes the machine's addresses, and reports whether the underlay has
// others now. Where they are of IPv6 alone, and the network has a NAT64, there is one
// of IPv4 besides: the Bind speaks for it.
func (n *Node) setAddresses(d *device, addrs []netip.Addr) (changed bool) {
	d.mu.Lock()
	d.addrs = addrs
	d.mu.Unlock()
	signal(n.toIPv4)
	return n.tellAddresses(d)
}

func (n *Node) tellAddresses(d *device) (changed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if hasIPv4(d.addrs) {
		n.nat64.Forget()
	}
	addrs, prefix := d.addrs, n.nat64.Prefix()
	if prefix.IsValid() {
		addrs = append(slices.Clone(addrs), nat64.Local)
	}
	changed = d.underlay.SetAddresses(addrs)
	if prefix != d.nat64 {
		d.nat64 = prefix
		n.log.Info("the way to IPv4 has changed", "nat64", prefix.IsValid(), "prefix", prefix)
		if !changed {
			d.underlay.Changed("the NAT64 is another")
			changed = true
		}
	}
	return changed
}

func hasIPv4(addrs []netip.Addr) bool { return slices.ContainsFunc(addrs, netip.Addr.Is4) }

// seekNAT64 keeps knowing the way to IPv4 of a machine without it, until ctx ends: it
// asks the resolver at once, and in each new network (RFC 7050).
func (n *Node) seekNAT64(ctx context.Context, d *device) {
	wait := nat64Retry
	for {
		var again <-chan time.Time
		if err := n.lookForNAT64(ctx, d); err == nil {
			wait = nat64Retry
			again = time.After(resolveEvery) // it may come later
		} else {
			n.log.Debug("looking for a NAT64 failed", "err", err)
			again = time.After(wait)
			wait = min(2*wait, resolveEvery)
		}
		if n.tellAddresses(d) {
			select {
			case n.calls <- n.setServers:
			case <-ctx.Done():
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-n.toIPv4:
		case <-again:
		}
	}
}

func (n *Node) lookForNAT64(ctx context.Context, d *device) error {
	d.mu.Lock()
	addrs := d.addrs
	d.mu.Unlock()
	if len(addrs) == 0 || hasIPv4(addrs) {
		return nil
	}
	_, err := n.nat64.Seek(ctx)
	return err
}

// dialHub connects to the hub, through the NAT64 if there is no other way.
func (n *Node) dialHub(ctx context.Context, network, addr string) (net.Conn, error) {
	return n.dialWith(ctx, &net.Dialer{Control: signaling.Burst}, network, addr)
}

// dial is dialHub for a relay's stream, which the kernel may pace.
func (n *Node) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return n.dialWith(ctx, &net.Dialer{}, network, addr)
}

// dialWith has the underlay told when it finds a NAT64.
func (n *Node) dialWith(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error) {
	before := n.nat64.Prefix()
	conn, err := n.nat64.DialContext(ctx, d, network, addr)
	if n.nat64.Prefix() != before {
		signal(n.toIPv4)
	}
	return conn, err
}

// native returns servers by the addresses that they have: a resolver may have told the
// one that stands for an IPv4 address behind the NAT64.
func (n *Node) native(servers []peer.Server) []peer.Server {
	for i := range servers {
		servers[i].Addr, _ = n.nat64.In(servers[i].Addr)
	}
	return servers
}
