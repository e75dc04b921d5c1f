package tunnel

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/nat64"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tun"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	wgdevice "golang.zx2c4.com/wireguard/device"
)

// keepalive is how often WireGuard proves an idle tunnel: shorter than the
// 30 s that the worst common NATs keep a UDP mapping.
const keepalive = 20 * time.Second

// device is the tunnel of a running node: the interface, WireGuard, its Bind,
// and the underlay that finds the paths.
type device struct {
	iface    *tun.Interface
	gate     *gate
	bind     *Bind
	wg       *wgdevice.Device
	underlay *peer.Underlay
	lan      *lan // nil: switched off
	tasks    *errgroup.Group
	ctx      context.Context // of tasks
	cancel   context.CancelFunc
	ipv4     netip.Addr    // of this machine inside the tunnel
	moved    chan struct{} // the network is another: names may lead elsewhere

	// mu is held while the underlay is told of addresses, so that the newest stay.
	mu    sync.Mutex
	addrs []netip.Addr // the machine's own
	nat64 nat64.Prefix // that was told
}

// start brings the tunnel up. What it made is undone when it fails.
func (n *Node) start(ctx context.Context) (err error) {
	prefixes := []netip.Prefix{signaling.NetworkIPv6(n.self.Network), n.node.Prefix}
	d := &device{}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	own, err := n.own()
	if err != nil {
		return err
	}
	addrs := own.Addresses(n.self.Network)
	d.ipv4 = own.IPv4
	d.iface, err = tun.Open(tun.Config{Name: n.cfg.Interface, Plain: n.cfg.NoGSO, Prefixes: []netip.Prefix{
		netip.PrefixFrom(addrs[0], n.node.Prefix.Bits()), netip.PrefixFrom(addrs[1], prefixes[0].Bits()),
	}})
	if err != nil {
		return err
	}
	handler := &underlayHandler{sealed: n.sealed}
	d.bind = NewBind(BindConfig{Handler: handler, NAT64: &n.nat64, NoGSO: n.cfg.NoGSO})
	d.gate = newGate(d.iface.Device())
	d.wg = wgdevice.NewDevice(d.gate, d.bind, wireGuardLogger(n.log, d.bind.refused))
	d.wg.DisableSomeRoamingForBrokenMobileSemantics() // pins each peer to the endpoint it is given, see Endpoint
	port, err := n.listen(d)
	if err != nil {
		return err
	}
	allow := func(a netip.Addr) bool { return !prefixes[0].Contains(a) && !prefixes[1].Contains(a) }
	d.underlay = peer.NewUnderlay(peer.UnderlayConfig{
		Socket: d.bind, Port: port, Log: n.log, RelayOnly: n.cfg.RelayOnly,
		OnRelayed: func(r *peer.Relay, from netip.AddrPort, b []byte) { d.bind.Relayed(r, from, b) },
		Allow:     allow,
		OnSuspect: n.suspectHub,
	})
	d.underlay.SetObserved(n.seen)
	d.lan = n.newLAN(d, allow)
	handler.underlay.Store(d.underlay)
	n.findOverlays(d)
	// Watch will tell them too, but the first offers shall not wait for it.
	if addrs, err := tun.LocalAddrs(); err == nil {
		n.setAddresses(d, addrs)
	}
	n.tunnel = d
	n.runTasks(ctx)
	for _, rec := range n.roster.Live(n.now()) {
		n.addMember(rec)
	}
	n.keys.Retain(func(node config.NodeKey) bool { return n.members[node] != nil })
	if d.iface.IPv4Only() {
		n.progress("IPv6 is switched off on this machine: the tunnel carries IPv4 alone")
		addrs = addrs[:1]
	}
	n.progress("%s is up: %s", d.iface.Name(), join(addrs))
	n.ready.start(time.Now())
	n.resume()
	if n.link.up { // this underlay has no servers yet; the hub tells them when it is asked
		n.hub.Send(&signaling.Credentials{})
	}
	return nil
}

// runTasks starts what serves the tunnel as long as it is up.
func (n *Node) runTasks(ctx context.Context) {
	d := n.tunnel
	ctx, d.cancel = context.WithCancel(ctx)
	d.tasks, ctx = errgroup.WithContext(ctx)
	d.ctx, n.trying = ctx, false
	d.tasks.Go(func() error { return d.underlay.Run(ctx) })
	d.tasks.Go(func() error { n.sealed.run(ctx); return nil })
	d.tasks.Go(func() error { n.discoverNetwork(ctx, d); return nil })
	d.tasks.Go(func() error { n.seekNAT64(ctx, d); return nil })
	if d.lan != nil {
		d.tasks.Go(func() error { d.lan.run(ctx); return nil })
	}
	d.moved, n.awake = make(chan struct{}, 1), awake{}
	d.tasks.Go(func() error { n.resolveRelays(ctx, d.moved); return nil })
	d.tasks.Go(func() error {
		return tun.Watch(ctx, n.log, d.iface, func(addrs []netip.Addr, why string) { n.networkChanged(d, addrs, why) })
	})
}

// stop undoes start.
func (n *Node) stop() {
	n.count(time.Now())
	for _, a := range n.active {
		n.noteWorked(time.Now(), a)
	}
	n.saveKnown(time.Now())
	for _, m := range n.members {
		n.endMember(m)
	}
	n.running.Wait()
	n.tunnel.cancel()
	if err := n.tunnel.tasks.Wait(); err != nil {
		n.log.Error("tunnel", "err", err)
	}
	n.tunnel.close()
	n.saveMembers()
}

func (d *device) close() {
	if d.wg != nil {
		d.wg.Close()
	}
	if d.iface != nil {
		d.iface.Close()
	}
}

// Random ports are drawn below the range that systems give to outgoing
// connections.
const (
	portsFrom = 10_000
	portsTo   = 32_000
	portTries = 20
)

// listen opens the UDP port: the one asked for, the one kept, or a random one.
func (n *Node) listen(d *device) (uint16, error) {
	key := hex.EncodeToString(n.node.WireGuard.Seed())
	if err := d.wg.IpcSet("private_key=" + key + "\n"); err != nil {
		return 0, fmt.Errorf("wireguard: %w", err)
	}
	port := n.cfg.Port
	if port == 0 {
		port = n.node.Port
	}
	for try := 0; ; try++ {
		if port == 0 {
			port = uint16(portsFrom + rand.IntN(portsTo-portsFrom))
		}
		err := d.wg.IpcSet(fmt.Sprintf("listen_port=%d\n", port))
		if err == nil {
			err = d.wg.Up()
		}
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EADDRINUSE) || try == portTries {
			return 0, fmt.Errorf("listen on udp port %d: %w", port, err)
		}
		if n.cfg.Port != 0 {
			return 0, config.WithHint(fmt.Errorf("udp port %d is in use", port), "give another with --port, or none to draw one")
		}
		port = 0
	}
	if port != n.node.Port {
		n.node.Port = port
		if err := n.cfg.Dir.SaveNode(n.node); err != nil {
			return 0, err
		}
	}
	return port, nil
}

// underlayHandler gives the Bind's other packets to the underlay, once there
// is one.
type underlayHandler struct {
	underlay atomic.Pointer[peer.Underlay]
	sealed   *datagrams
}

func (h *underlayHandler) STUN(b []byte, local netip.Addr, from netip.AddrPort) {
	if u := h.underlay.Load(); u != nil {
		u.Handle(b, local, from)
	}
}

// Channel asks the underlay whose a channel is.
func (h *underlayHandler) Channel(number uint16, from netip.AddrPort) (Relay, netip.AddrPort, bool) {
	if u := h.underlay.Load(); u != nil {
		if r, peer, ok := u.Channel(from, number); ok {
			return r, peer, true
		}
	}
	return nil, netip.AddrPort{}, false
}

// Datagram takes what may be a part of a sealed message.
func (h *underlayHandler) Datagram(b []byte, relay Relay, from netip.AddrPort, owner *Endpoint) {
	h.sealed.take(b, claim{relay, from}, owner)
}

// traffic is what WireGuard counts of one peer. Only authenticated packets
// count as received.
type traffic struct {
	handshake time.Time // last completed; zero: none
	rx, tx    uint64    // bytes
}

// plus adds what was counted later.
func (t traffic) plus(next traffic) traffic {
	return traffic{later(t.handshake, next.handshake), t.rx + next.rx, t.tx + next.tx}
}

// traffic reads all peers' counters.
func (d *device) traffic() map[config.WireGuardKey]traffic {
	text, err := d.wg.IpcGet()
	if err != nil {
		return nil
	}
	return parseTraffic(text)
}

// parseTraffic reads the peers' counters from the device's answer, see
// https://www.wireguard.com/xplatform/.
func parseTraffic(text string) map[config.WireGuardKey]traffic {
	all := make(map[config.WireGuardKey]traffic)
	var key config.WireGuardKey
	var c traffic
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		number, _ := strconv.ParseInt(value, 10, 64)
		switch name {
		case "public_key":
			hex.Decode(key[:], []byte(value))
			c = traffic{}
		case "last_handshake_time_sec":
			if number != 0 {
				c.handshake = time.Unix(number, 0)
			}
		case "last_handshake_time_nsec":
			if !c.handshake.IsZero() {
				c.handshake = c.handshake.Add(time.Duration(number))
			}
		case "rx_bytes":
			c.rx = uint64(number)
		case "tx_bytes":
			c.tx = uint64(number)
		}
		all[key] = c
	}
	delete(all, config.WireGuardKey{}) // the device's own lines
	return all
}

// wireGuardLogger passes on what WireGuard says. Its errors come per packet
// while a network is down, so only one in a while is a warning. refused is told
// the endpoint's name of a refused response, on the device's goroutine.
func wireGuardLogger(log *slog.Logger, refused func(name string)) *wgdevice.Logger {
	warn := rate.Sometimes{Interval: 10 * time.Second}
	verbose := func(format string, args ...any) { log.Debug("wireguard: " + fmt.Sprintf(format, args...)) }
	return &wgdevice.Logger{
		Verbosef: func(format string, args ...any) {
			verbose(format, args...)
			if format == refusedResponse {
				refused(fmt.Sprint(args...))
			}
		},
		Errorf: func(format string, args ...any) {
			verbose(format, args...)
			warn.Do(func() { log.Warn("wireguard: " + fmt.Sprintf(format, args...)) })
		},
	}
}

func join(addrs []netip.Addr) string {
	s := make([]string, len(addrs))
	for i, a := range addrs {
		s[i] = a.String()
	}
	return strings.Join(s, ", ")
}
