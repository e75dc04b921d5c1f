package e2e

import (
	"bytes"
	wire "encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"golang.org/x/sys/unix"
)

// sniffer keeps every frame that a host sends or receives, as tcpdump would.
type sniffer struct {
	file *os.File
	done sync.WaitGroup

	mu     sync.Mutex // guards frames
	frames [][]byte
}

func sniff(t *testing.T, host *natlab.Host) *sniffer {
	t.Helper()
	var fd int
	err := host.Do(func() (err error) {
		iface, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		all := wire.BigEndian.Uint16(wire.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index}))
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &sniffer{file: os.NewFile(uintptr(fd), "eth0 of "+host.Name())}
	s.done.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := s.file.Read(buf)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err == nil {
				s.mu.Lock()
				s.frames = append(s.frames, bytes.Clone(buf[:n]))
				s.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() { s.stop() })
	return s
}

// stop ends the capture and returns what it has.
func (s *sniffer) stop() [][]byte {
	s.file.Close()
	s.done.Wait()
	return s.frames
}

// udp is the UDP payload of an Ethernet frame with IPv4, or nil.
func udp(frame []byte) []byte {
	const ethernet = 14
	if len(frame) < ethernet+20 || frame[12] != 0x08 || frame[13] != 0 || frame[ethernet+9] != unix.IPPROTO_UDP {
		return nil
	}
	at := ethernet + int(frame[ethernet]&0xf)*4 + 8
	if len(frame) < at {
		return nil
	}
	return frame[at:]
}

// channelData is what a TURN ChannelData message carries (RFC 8656, section
// 12.4), or nil.
func channelData(payload []byte) []byte {
	if len(payload) < 4 || payload[0]&0xf0 != 0x40 {
		return nil
	}
	return payload[4:]
}

// ufrags are the ice-ufrags in the USERNAME of STUN binding requests (RFC 8445,
// section 7.2.2), which each way sees.
func ufrags(frames [][]byte) map[string]bool {
	const (
		header   = 20
		username = 0x0006
	)
	found := make(map[string]bool)
	for _, f := range frames {
		p := udp(f)
		// A check may be the packet, or in ChannelData, or in an indication.
		at := bytes.LastIndex(p, []byte{0x21, 0x12, 0xa4, 0x42}) - 4
		if at < 0 || len(p) < at+header || !bytes.Equal(p[at:at+2], []byte{0, 1}) {
			continue
		}
		p = p[at:]
		for p = p[header:]; len(p) >= 4; {
			kind, size := wire.BigEndian.Uint16(p), int(wire.BigEndian.Uint16(p[2:]))
			if len(p) < 4+size {
				break
			}
			if kind == username {
				for _, u := range bytes.Split(p[4:4+size], []byte(":")) {
					found[string(u)] = true
				}
			}
			p = p[min(len(p), 4+(size+3)&^3):]
		}
	}
	return found
}
