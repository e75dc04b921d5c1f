package tun

import "encoding/binary"

// IP protocol numbers.
const (
	protoTCP = 6
	protoUDP = 17
)

const (
	ipv4Size = 20 // without options
	ipv6Size = 40
	tcpSize  = 20 // without options
	udpSize  = 8

	tcpChecksum = 16 // offset in the TCP header
	udpChecksum = 6
	tcpFlags    = 13
)

// Flags of a TCP header.
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpCWR = 0x80
)

// headers says what stands where in a TCP or UDP packet.
type headers struct {
	proto byte
	v6    bool
	ip    int // length of the IP header
	size  int // of all headers
}

// parse returns the headers of a packet that can be part of a larger one: no
// fragment, without IP options or extension headers, and as long as it says. It
// is false for all others.
func parse(p []byte) (h headers, ok bool) {
	if len(p) < ipv4Size {
		return h, false
	}
	n := int(binary.BigEndian.Uint16(p[2:]))
	switch {
	case p[0] == 0x45 && binary.BigEndian.Uint16(p[6:])&0x3fff == 0: // no fragment
		h.ip, h.proto = ipv4Size, p[9]
	case p[0]>>4 == 6 && len(p) >= ipv6Size:
		h.ip, h.proto, h.v6 = ipv6Size, p[6], true
		n = ipv6Size + int(binary.BigEndian.Uint16(p[4:]))
	default:
		return h, false
	}
	return h, n == len(p) && h.measure(p)
}

// measure finds the length of all headers, and says whether p holds them.
func (h *headers) measure(p []byte) bool {
	switch {
	case h.proto == protoTCP && len(p) >= h.ip+tcpSize:
		h.size = h.ip + int(p[h.ip+12]>>4)*4
		return h.size >= h.ip+tcpSize && h.size <= len(p)
	case h.proto == protoUDP && len(p) >= h.ip+udpSize:
		h.size = h.ip + udpSize
		return true
	}
	return false
}

// addrs is both addresses of a packet.
func (h headers) addrs(p []byte) []byte {
	if h.v6 {
		return p[8:ipv6Size]
	}
	return p[12:ipv4Size]
}

// checksum is where the transport's checksum stands.
func (h headers) checksum() int {
	if h.proto == protoTCP {
		return h.ip + tcpChecksum
	}
	return h.ip + udpChecksum
}

// pseudo sums the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1) of
// a packet of n bytes.
func (h headers) pseudo(p []byte, n int) uint64 {
	return sum(h.addrs(p), wire16(uint16(h.proto))+wire16(uint16(n-h.ip)))
}

// valid says whether the transport's checksum is there and right.
func (h headers) valid(p []byte) bool {
	if h.proto == protoUDP && p[h.ip+udpChecksum] == 0 && p[h.ip+udpChecksum+1] == 0 {
		return false
	}
	return fold(sum(p[h.ip:], h.pseudo(p, len(p)))) == 0xffff
}

// setLength writes the packet's length n into its headers, and the IPv4
// checksum.
func (h headers) setLength(p []byte, n int) {
	if h.proto == protoUDP {
		binary.BigEndian.PutUint16(p[h.ip+4:], uint16(n-h.ip))
	}
	if h.v6 {
		binary.BigEndian.PutUint16(p[4:], uint16(n-ipv6Size))
		return
	}
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	putSum(p[10:], 0)
	putSum(p[10:], ^fold(sum(p[:h.ip], 0)))
}

// setChecksum computes the transport's checksum.
func (h headers) setChecksum(p []byte) {
	at := p[h.checksum():]
	putSum(at, 0)
	c := ^fold(sum(p[h.ip:], h.pseudo(p, len(p))))
	if c == 0 && h.proto == protoUDP {
		c = 0xffff // 0 would say that there is none (RFC 768)
	}
	putSum(at, c)
}

// virtioSize is the length of the header that the kernel puts before each
// packet, and wants before each.
const virtioSize = 10

// virtio is that header: struct virtio_net_hdr of include/uapi/linux/virtio_net.h,
// its numbers in the machine's byte order.
//
//	0      1     2        4         6             8
//	flags  type  hdr_len  gso_size  csum_start    csum_offset
type virtio [virtioSize]byte

// What a virtio header says.
const (
	needsChecksum = 1 // a flag: the checksum holds the pseudo header's sum alone

	gsoNone  = 0 // types
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoUDP   = 5
)

func (v *virtio) needsChecksum() bool { return v[0]&needsChecksum != 0 }
func (v *virtio) kind() byte          { return v[1] &^ 0x80 } // 0x80: ECN was negotiated
func (v *virtio) segment() int        { return int(binary.NativeEndian.Uint16(v[4:])) }
func (v *virtio) start() int          { return int(binary.NativeEndian.Uint16(v[6:])) }
func (v *virtio) offset() int         { return int(binary.NativeEndian.Uint16(v[8:])) }

// describe fills the header of a packet that is to be cut into segments.
func (v *virtio) describe(h headers, segment int) {
	v[0] = needsChecksum
	switch {
	case h.proto == protoUDP:
		v[1] = gsoUDP
	case h.v6:
		v[1] = gsoTCPv6
	default:
		v[1] = gsoTCPv4
	}
	binary.NativeEndian.PutUint16(v[2:], uint16(h.size))
	binary.NativeEndian.PutUint16(v[4:], uint16(segment))
	binary.NativeEndian.PutUint16(v[6:], uint16(h.ip))
	binary.NativeEndian.PutUint16(v[8:], uint16(h.checksum()-h.ip))
}
