package tun

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// virtualPair returns two devices: what is written to one is read from the other
// as the kernel would have it. There is no kernel between them that cuts.
func virtualPair(t testing.TB, plain bool) (a, b *device) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	for _, fd := range fds {
		must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 64<<20))
	}
	open := func(fd int) *device {
		d, err := wrap(os.NewFile(uintptr(fd), "pair"), "pair", plain)
		must(t, err)
		d.udp = !plain
		t.Cleanup(func() { d.Close() })
		return d
	}
	return open(fds[0]), open(fds[1])
}

// flow makes the packets of one TCP or UDP flow.
type flow struct {
	v6, udp bool
	port    byte
	options int // bytes of TCP options
	seq     uint32
	id      uint16
}

func (f *flow) packet(payload int, fill byte, change func(p []byte, h headers)) []byte {
	h := headers{proto: protoTCP, v6: f.v6, ip: ipv4Size}
	if f.v6 {
		h.ip = ipv6Size
	}
	h.size = h.ip + tcpSize + f.options
	if f.udp {
		h.proto, h.size = protoUDP, h.ip+udpSize
	}
	p := bytes.Repeat([]byte{fill}, h.size+payload)
	clear(p[:h.size])
	if f.v6 {
		p[0], p[6], p[7] = 0x60, h.proto, 64
		p[8], p[39] = 0xfd, f.port
	} else {
		p[0], p[6], p[8], p[9] = 0x45, 0x40, 64, h.proto
		binary.BigEndian.PutUint16(p[4:], f.id)
		f.id++
		p[12], p[19] = 10, f.port
	}
	p[h.ip+1] = f.port
	if !f.udp {
		binary.BigEndian.PutUint32(p[h.ip+4:], f.seq)
		f.seq += uint32(payload)
		p[h.ip+12] = byte((tcpSize + f.options) / 4 << 4)
		p[h.ip+tcpFlags] = tcpACK
	}
	if change != nil {
		change(p, h)
	}
	h.setLength(p, len(p))
	h.setChecksum(p)
	return p
}

// carry writes packets to a and returns what b reads, and in how many pieces the
// kernel would have had them.
func carry(t testing.TB, a, b *device, packets [][]byte) (got [][]byte, pieces int) {
	t.Helper()
	const offset = 16
	out := make([][]byte, len(packets))
	for i, p := range packets {
		out[i] = append(make([]byte, offset, 65535), p...)
	}
	n, err := a.Write(out, offset)
	must(t, err)
	if n != len(packets) {
		t.Fatalf("wrote %d of %d", n, len(packets))
	}
	return collect(t, b, len(packets))
}

// collect reads so many packets, and says in how many pieces they came.
func collect(t testing.TB, b *device, count int) (got [][]byte, pieces int) {
	t.Helper()
	const offset = 16
	bufs, sizes := make([][]byte, 128), make([]int, 128)
	for i := range bufs {
		bufs[i] = bytes.Repeat([]byte{0xEE}, 65535)
	}
	must(t, b.file.SetReadDeadline(time.Now().Add(10*time.Second)))
	for len(got) < count {
		n, err := b.Read(bufs, sizes, offset)
		if err != nil {
			t.Fatalf("after %d of %d packets: %v", len(got), count, err)
		}
		if pieces++; n == 0 {
			t.Fatal("a packet was taken for malformed")
		}
		for i := range n {
			got = append(got, trim(t, bufs[i][offset:][:sizes[i]]))
		}
	}
	return got, pieces
}

// trim takes the padding off, which must be zeros up to 16 bytes.
func trim(t testing.TB, p []byte) []byte {
	t.Helper()
	n := int(binary.BigEndian.Uint16(p[2:]))
	if p[0]>>4 == 6 {
		n = ipv6Size + int(binary.BigEndian.Uint16(p[4:]))
	}
	if n <= BaseMTU && len(p) != (n+15)&^15 || n > BaseMTU && len(p) != n || len(bytes.Trim(p[n:], "\x00")) > 0 {
		t.Fatalf("a packet of %d bytes is padded to %d: % x", n, len(p), p[n:])
	}
	return slices.Clone(p[:n])
}

func TestJoined(t *testing.T) {
	set := func(at int, v byte) func(p []byte, h headers) { return func(p []byte, h headers) { p[h.ip+at] |= v } }
	tests := []struct {
		name   string
		flow   flow
		make   func(f *flow) [][]byte
		pieces int
	}{
		{"a long transfer", flow{options: 12}, func(f *flow) [][]byte { return f.run(40, 1388) }, 1},
		{"over IPv6", flow{v6: true, options: 12}, func(f *flow) [][]byte { return f.run(40, 1368) }, 1},
		{"more than one packet can say", flow{}, func(f *flow) [][]byte { return f.run(100, 1400) }, 3},
		{"a shorter one ends it", flow{}, func(f *flow) [][]byte { return append(f.run(3, 100), append(f.run(1, 50), f.run(2, 100)...)...) }, 2},
		{"a longer one begins anew", flow{}, func(f *flow) [][]byte { return append(f.run(3, 100), f.run(3, 200)...) }, 2},
		{"pushed", flow{}, func(f *flow) [][]byte {
			return append(append(f.run(3, 100), f.packet(100, 9, set(tcpFlags, tcpPSH))), f.run(2, 100)...)
		}, 2},
		{"a segment is missing", flow{}, func(f *flow) [][]byte {
			first := f.run(3, 100)
			f.seq += 100
			return append(first, f.run(3, 100)...)
		}, 2},
		{"another acknowledgment", flow{}, func(f *flow) [][]byte { return append(f.run(2, 100), f.packet(100, 1, set(8, 7))) }, 2},
		{"the end of the connection", flow{}, func(f *flow) [][]byte { return append(f.run(2, 100), f.packet(100, 1, set(tcpFlags, tcpFIN))) }, 2},
		{"no data", flow{}, func(f *flow) [][]byte { return f.run(5, 0) }, 5},
		{"another hop limit", flow{}, func(f *flow) [][]byte {
			return append(f.run(2, 100), f.packet(100, 1, func(p []byte, _ headers) { p[8] = 3 }))
		}, 2},
		{"a fragment", flow{}, func(f *flow) [][]byte {
			return append(f.run(2, 100), f.packet(100, 1, func(p []byte, _ headers) { p[6] = 0x20 }))
		}, 2},
		{"a wrong checksum", flow{}, func(f *flow) [][]byte {
			all := f.run(4, 100)
			all[2][60] ^= 1
			return all
		}, 3},
		{"a wrong checksum of the first", flow{}, func(f *flow) [][]byte {
			all := f.run(4, 100)
			all[0][60] ^= 1
			return all
		}, 2},
		{"UDP", flow{udp: true}, func(f *flow) [][]byte { return append(f.run(30, 1200), f.run(1, 10)...) }, 1},
		{"UDP over IPv6", flow{udp: true, v6: true}, func(f *flow) [][]byte { return f.run(30, 1200) }, 1},
		{"UDP without a checksum", flow{udp: true}, func(f *flow) [][]byte {
			all := f.run(3, 100)
			for _, p := range all {
				clear(p[26:28])
			}
			return all
		}, 3},
		{"small ones", flow{}, func(f *flow) [][]byte { return f.run(100, 9) }, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := virtualPair(t, false)
			for range 2 { // the second time the guess is right
				packets := tt.make(&tt.flow)
				got, pieces := carry(t, a, b, packets)
				if pieces != tt.pieces {
					t.Errorf("in %d pieces, want %d", pieces, tt.pieces)
				}
				compare(t, got, packets)
			}
		})
	}
}

func (f *flow) run(count, payload int) (all [][]byte) {
	for i := range count {
		all = append(all, f.packet(payload, byte(i), nil))
	}
	return all
}

func compare(t testing.TB, got, want [][]byte) {
	t.Helper()
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("packet %d of %d:\n% x, want\n% x", i, len(want), got[i][:min(80, len(got[i]))], want[i][:min(80, len(want[i]))])
		}
	}
}

// TestMixed carries many flows at once, in pieces of any size. Each comes out as
// it went in, in its order.
func TestMixed(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain %v", plain), func(t *testing.T) {
			a, b := virtualPair(t, plain)
			random := rand.New(rand.NewPCG(1, 2))
			flows := make([]flow, 24)
			for i := range flows {
				flows[i] = flow{v6: i%2 == 0, udp: i%5 == 0, port: byte(i), options: i % 3 * 4}
			}
			for range 300 {
				want := make(map[byte][][]byte)
				var all [][]byte
				for len(all) < 128 {
					f := &flows[random.IntN(len(flows))]
					for range min(1+random.IntN(20), 128-len(all)) {
						size := []int{1400, 1200, random.IntN(1400), 0}[random.IntN(4)]
						p := f.packet(size, byte(random.Uint32()), nil)
						all, want[f.port] = append(all, p), append(want[f.port], p)
					}
				}
				got, _ := carry(t, a, b, all)
				by := make(map[byte][][]byte)
				for _, p := range got {
					h, ok := parse(p)
					if !ok || !h.valid(p) {
						t.Fatalf("a packet is not valid: % x", p[:min(60, len(p))])
					}
					by[p[h.ip+1]] = append(by[p[h.ip+1]], p)
				}
				for port, packets := range want {
					compare(t, by[port], packets)
				}
			}
		})
	}
}

// refusing is a kernel that takes no joined packets.
type refusing struct {
	syscall.RawConn
	w *writer
}

func (c refusing) Control(f func(fd uintptr)) error {
	if len(c.w.out.iovs) > 1 {
		c.w.out.n, c.w.out.err = 0, unix.EINVAL
		return nil
	}
	return c.RawConn.Control(f)
}

// TestRefused: what a kernel does not take joined it gets one by one, as it was.
func TestRefused(t *testing.T) {
	a, b := virtualPair(t, false)
	f := flow{options: 12}
	packets := append(f.run(5, 1388), f.packet(100, 9, func(p []byte, h headers) { p[h.ip+tcpFlags] |= tcpPSH }))
	w := &writer{out: newTransfer(unix.SYS_WRITEV)}
	w.offset, w.udp = 16, true
	var bufs [][]byte
	for _, p := range packets {
		bufs = append(bufs, append(make([]byte, 16, 65535), p...))
	}
	if w.merge(bufs); len(w.runs) != 1 {
		t.Fatalf("%d runs, want 1", len(w.runs))
	}
	must(t, w.write(refusing{a.raw, w}, bufs, 0))
	got, pieces := collect(t, b, len(packets))
	if pieces != len(packets) {
		t.Errorf("in %d pieces, want %d", pieces, len(packets))
	}
	compare(t, got, packets)
}

// TestReadDeadline: a reader is woken, and nothing is lost by it.
func TestReadDeadline(t *testing.T) {
	a, b := virtualPair(t, false)
	bufs, sizes := [][]byte{make([]byte, 2048)}, make([]int, 1)
	must(t, b.file.SetReadDeadline(time.Unix(1, 0)))
	if _, err := b.Read(bufs, sizes, 0); !os.IsTimeout(err) {
		t.Errorf("error %v, want a timeout", err)
	}
	packets := (&flow{}).run(3, 100)
	got, _ := carry(t, a, b, packets)
	compare(t, got, packets)
}

// TestMalformed: what no kernel would say loses one packet.
func TestMalformed(t *testing.T) {
	a, b := virtualPair(t, false)
	good := (&flow{}).packet(100, 1, nil)
	for _, v := range []virtio{
		{0, gsoTCPv4, 0, 0, 0, 0, 200, 0},
		{0, gsoTCPv4, 0, 0, 0, 0, 20, 0},
		{0, gsoUDP, 0, 0, 10, 0, 255, 255},
		{needsChecksum, gsoNone, 0, 0, 0, 0, 255, 255, 255, 255},
		{needsChecksum, gsoNone, 0, 0, 0, 0, 255, 0, 255, 255},
	} {
		_, err := a.file.Write(append(v[:], good...))
		must(t, err)
		bufs, sizes := [][]byte{make([]byte, 2048)}, make([]int, 1)
		if n, err := b.Read(bufs, sizes, 0); n != 0 || err != nil {
			t.Errorf("% x: %d packets, %v", v, n, err)
		}
	}
	got, _ := carry(t, a, b, [][]byte{good})
	compare(t, got, [][]byte{good})
}

// FuzzSplit: whatever the kernel says, there is no panic, and all packets stay
// within their buffers.
func FuzzSplit(f *testing.F) {
	p := (&flow{options: 12}).packet(3000, 1, nil)
	h, _ := parse(p)
	var v virtio
	v.describe(h, 1000)
	f.Add(append(v[:], p...))
	f.Add(append(make([]byte, virtioSize), p...))
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) > maxPacket {
			return
		}
		s := newSplitter(8)
		bufs, sizes := make([][]byte, 8), make([]int, 8)
		for i := range bufs {
			bufs[i] = make([]byte, 65535)
		}
		for range 2 {
			rest := message
			for _, v := range s.layout(bufs, 16) {
				rest = rest[copy(iovecBytes(v), rest):]
			}
			n, err := s.split(bufs, sizes, 16, len(message)-len(rest))
			for ; err == nil && n > 0; n = s.more(bufs, sizes, 16) {
				for i := range n {
					_ = bufs[i][16:][:sizes[i]]
				}
			}
		}
	})
}
