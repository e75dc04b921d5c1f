package natlab

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"
)

// A listener sees the frames that arrive at a host. The kernel trusts checksums
// that come from its own interfaces; the listener does not.
type listener struct {
	t    *testing.T
	file *os.File
}

func tap(t *testing.T, h *Host) listener {
	t.Helper()
	file, err := end{h.ns, "eth0"}.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return listener{t, file}
}

// next returns the next IPv4 packet without options.
func (l listener) next() []byte {
	l.t.Helper()
	frame := make([]byte, maxFrame)
	l.file.SetReadDeadline(time.Now().Add(patience))
	for {
		n, err := l.file.Read(frame)
		if err != nil {
			l.t.Fatal(err)
		}
		packet := frame[vnetHeaderLen+14 : n]
		if packet[0] == 0x45 {
			return packet[:binary.BigEndian.Uint16(packet[2:])]
		}
	}
}

func addrAt(b []byte, at int) netip.Addr { return netip.AddrFrom4([4]byte(b[at:])) }

func endpoint(b []byte, addr, port int) netip.AddrPort {
	return netip.AddrPortFrom(addrAt(b, addr), binary.BigEndian.Uint16(b[port:]))
}

// sum is the Internet checksum of RFC 1071 before the final complement.
func sum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i%2))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
