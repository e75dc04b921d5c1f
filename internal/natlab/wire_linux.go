package natlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// wireRoom is the namespace where the wires of emulated links run:
//
//	customer ═veth═ nearN ─ AF_PACKET ─ pump ─ AF_PACKET ─ farN ═veth═ upstream
//
// Packet sockets rather than TAP devices, because a user namespace can open
// them and need not be able to open /dev/net/tun.
type wireRoom struct {
	ns    *namespace
	wires int
	files []*os.File
	pumps sync.WaitGroup

	links map[string]*atomic.Pointer[Link] // what the wires do now, by carrier
}

// wire connects two ends by an emulated link, and returns the interface that
// gives the first its carrier. l.mu is held.
func (l *Lab) wire(a, b end, link Link) (carrier end, err error) {
	if l.wires == nil {
		ns, err := l.namespace("wires")
		if err != nil {
			return end{}, err
		}
		// The ends must not speak by themselves.
		if err := ns.sysctl("ipv6/conf/all/disable_ipv6", "1", "ipv6/conf/default/disable_ipv6", "1"); err != nil {
			return end{}, err
		}
		l.wires = &wireRoom{ns: ns, links: make(map[string]*atomic.Pointer[Link])}
	}
	return l.wires.add(a, b, link)
}

func (w *wireRoom) add(a, b end, link Link) (carrier end, err error) {
	w.wires++
	ends := [2]end{{w.ns, fmt.Sprintf("near%d", w.wires)}, {w.ns, fmt.Sprintf("far%d", w.wires)}}
	var files [2]*os.File
	for i, outer := range []end{a, b} {
		if err := veth(outer, ends[i], link.mtu()); err != nil {
			return end{}, err
		}
		// A batch would be lost, delayed and counted as one packet.
		if err := outer.singlePackets(); err != nil {
			return end{}, err
		}
		if files[i], err = ends[i].open(); err != nil {
			return end{}, err
		}
		w.files = append(w.files, files[i])
	}
	now := new(atomic.Pointer[Link])
	now.Store(&link)
	w.links[ends[0].name] = now
	for i := range files {
		p := &pump{in: files[i], out: files[1-i], link: now, shaper: newShaper(link, uint64(2*w.wires+i))}
		w.pumps.Go(p.run)
	}
	return ends[0], nil
}

// setLink changes what the attachment's link does; its MTU stays. l.mu is held.
func (l *Lab) setLink(a *attachment, change func(*Link)) error {
	if l.wires == nil || a.carrier.ns != l.wires.ns {
		return fmt.Errorf("natlab: the link of %s is not emulated", a.inside.ns.name)
	}
	now := l.wires.links[a.carrier.name]
	link := *now.Load()
	change(&link)
	if err := link.validate(); err != nil {
		return err
	}
	now.Store(&link)
	return nil
}

// close ends all pumps.
func (w *wireRoom) close() {
	for _, f := range w.files {
		f.Close()
	}
	w.pumps.Wait()
}

// open returns a packet socket for all frames that arrive at the interface.
// Each is preceded by a virtio_net_hdr, which says what of its checksum is
// still to be filled in; passed on unread, it keeps offloading intact.
func (e end) open() (*os.File, error) {
	var fd int
	err := e.ns.do(func() (err error) {
		iface, err := net.InterfaceByName(e.name)
		if err != nil {
			return err
		}
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		for _, o := range []struct{ level, name, value int }{
			{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
			{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
			{unix.SOL_SOCKET, unix.SO_RCVBUF, wireBuffer},
		} {
			err = errors.Join(err, unix.SetsockoptInt(fd, o.level, o.name, o.value))
		}
		all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
		err = errors.Join(err, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index}))
		if err != nil {
			unix.Close(fd)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("natlab: packet socket on %s: %w", e.name, err)
	}
	return os.NewFile(uintptr(fd), e.name), nil
}

const (
	vnetHeaderLen = 10      // struct virtio_net_hdr
	ethernetLen   = 14      // without a VLAN
	wireBuffer    = 4 << 20 // bytes of receive buffer; the kernel may cap it
	maxFrame      = vnetHeaderLen + ethernetLen + maxMTU
)

// A pump carries frames one way over a wire. Its goroutine owns everything.
type pump struct {
	in, out *os.File
	link    *atomic.Pointer[Link]
	shaper  *shaper
	queue   []delayed // by due time
}

// delayed is a frame on its way.
type delayed struct {
	due   time.Time
	frame []byte // virtio_net_hdr included
}

// run ends when the in socket is closed.
func (p *pump) run() {
	buf := make([]byte, maxFrame)
	var deadline time.Time
	for {
		if next := p.next(); !next.Equal(deadline) {
			deadline = next
			p.in.SetReadDeadline(deadline)
		}
		n, err := p.in.Read(buf)
		now := time.Now()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err == nil { // otherwise the time is up, or the interface went down
			p.accept(now, buf[:n])
		}
		p.deliver(now)
	}
}

// next returns when the next frame is due; zero for none.
func (p *pump) next() time.Time {
	if len(p.queue) == 0 {
		return time.Time{}
	}
	return p.queue[0].due
}

// accept queues a frame. Address resolution passes at once, whatever the link:
// a long cable does not lose it, the routers at its ends do their own.
func (p *pump) accept(now time.Time, frame []byte) {
	if isResolution(frame) {
		p.out.Write(frame)
		return
	}
	link := p.link.Load()
	packet := frame[vnetHeaderLen+ethernetLen:]
	if link.Swallow > 0 && len(packet) > link.Swallow && !isTCP(frame) || link.Lose != nil && link.Lose(packet) {
		return
	}
	p.shaper.link = *link
	due, copies := p.shaper.admit(now, len(frame)-vnetHeaderLen)
	if copies == 0 {
		return
	}
	frame = slices.Clone(frame)
	at, _ := slices.BinarySearchFunc(p.queue, due, func(d delayed, t time.Time) int {
		if d.due.After(t) {
			return 1
		}
		return -1 // behind those due at the same time
	})
	for range copies {
		p.queue = slices.Insert(p.queue, at, delayed{due, frame})
	}
}

// isResolution says whether a frame asks for a neighbour's link address, or tells
// it: ARP, or neighbour discovery (RFC 4861).
func isResolution(frame []byte) bool {
	const etherType = vnetHeaderLen + 12
	if len(frame) < etherType+2 {
		return false
	}
	switch packet := frame[etherType+2:]; binary.BigEndian.Uint16(frame[etherType:]) {
	case unix.ETH_P_ARP:
		return true
	case unix.ETH_P_IPV6:
		const header, solicitation, advertisement = 40, 135, 136
		return len(packet) > header && packet[6] == unix.IPPROTO_ICMPV6 &&
			(packet[header] == solicitation || packet[header] == advertisement)
	}
	return false
}

// isTCP looks at a frame of at least 64 bytes.
func isTCP(frame []byte) bool {
	packet := frame[vnetHeaderLen+ethernetLen:]
	if packet[0]>>4 == 4 {
		return packet[9] == unix.IPPROTO_TCP
	}
	return packet[6] == unix.IPPROTO_TCP
}

// deliver sends what is due. A frame that the interface does not take, being
// down or full, is lost as on any wire.
func (p *pump) deliver(now time.Time) {
	sent := 0
	for sent < len(p.queue) && !p.queue[sent].due.After(now) {
		p.out.Write(p.queue[sent].frame)
		sent++
	}
	clear(p.queue[:sent])
	p.queue = p.queue[sent:]
}
