package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/natlab"
)

// recorder is a TCP proxy before the hub's WebSocket, and keeps what passes. It
// sees what the hub sees.
type recorder struct {
	Link string // of the hub, by way of the recorder

	listener net.Listener
	conns    sync.WaitGroup

	mu      sync.Mutex // guards streams
	streams []*stream
}

// stream is one direction of one connection.
type stream struct {
	fromNode bool

	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *stream) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.buf.Bytes())
}

// record starts a recorder on a host, before the hub.
func record(t *testing.T, host *natlab.Host, hub *Hub) *recorder {
	t.Helper()
	link, err := config.ParseHubLink(hub.Link)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(link.URLs[0])
	if err != nil {
		t.Fatal(err)
	}
	to, err := netip.ParseAddrPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	l, err := host.ListenTCP(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(host.Addr(), uint16(l.Addr().(*net.TCPAddr).Port))
	link.URLs = []string{"ws://" + at.String()}
	r := &recorder{Link: link.Token(), listener: l}
	ctx, cancel := context.WithCancel(context.Background())
	r.conns.Go(func() {
		for {
			node, err := l.Accept()
			if err != nil {
				return
			}
			r.conns.Go(func() { r.serve(ctx, host, node, to) })
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		r.conns.Wait()
	})
	return r
}

// serve carries one connection to its end.
func (r *recorder) serve(ctx context.Context, host *natlab.Host, node net.Conn, to netip.AddrPort) {
	defer node.Close()
	hub, err := host.DialTCP(ctx, to)
	if err != nil {
		return
	}
	defer hub.Close()
	defer context.AfterFunc(ctx, func() {
		node.Close()
		hub.Close()
	})()
	up, down := &stream{fromNode: true}, &stream{}
	r.mu.Lock()
	r.streams = append(r.streams, up, down)
	r.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		io.Copy(io.MultiWriter(up, hub), node)
		hub.Close()
	})
	both.Go(func() {
		io.Copy(io.MultiWriter(down, node), hub)
		node.Close()
	})
	both.Wait()
}

// recorded is one message that a node or the hub sent.
type recorded struct {
	fromNode bool
	frame    []byte
}

// messages are all that have passed.
func (r *recorder) messages(t *testing.T) (all []recorded) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.streams {
		_, rest, found := bytes.Cut(s.bytes(), []byte("\r\n\r\n")) // the HTTP upgrade
		if !found {
			continue
		}
		frames, err := webSocketFrames(rest)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			all = append(all, recorded{s.fromNode, f})
		}
	}
	return all
}

// webSocketFrames takes a stream apart (RFC 6455, section 5.2), unmasks it, and puts
// together what was sent in pieces. What is cut off at the end, as by a kill, is no
// frame.
func webSocketFrames(b []byte) (frames [][]byte, err error) {
	var pieces []byte
	for len(b) >= 2 {
		if b[0]&0x70 != 0 {
			return nil, errors.New("WebSocket frame: compressed, or not a frame")
		}
		masked, length, at := b[1]&0x80 != 0, int(b[1]&0x7f), 2
		for extended := map[int]int{126: 2, 127: 8}[length]; extended > 0; extended-- {
			if at == 2 {
				length = 0
			}
			if at == len(b) {
				return frames, nil
			}
			length = length<<8 | int(b[at])
			at++
		}
		var mask [4]byte
		if masked {
			at += copy(mask[:], b[at:])
		}
		if len(b) < at+length {
			return frames, nil
		}
		payload := bytes.Clone(b[at : at+length])
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
		const control, continuation, final = 0x8, 0x0, 0x80
		switch opcode := b[0] & 0x0f; {
		case opcode&control != 0: // may stand between the pieces
			frames = append(frames, payload)
		default:
			if opcode != continuation {
				pieces = nil
			}
			if pieces = append(pieces, payload...); b[0]&final != 0 {
				frames = append(frames, pieces)
				pieces = nil
			}
		}
		b = b[at+length:]
	}
	return frames, nil
}

// TestWebSocketFrames: short, longer and long frames, masked and not, whole and in pieces.
func TestWebSocketFrames(t *testing.T) {
	stream := []byte{0x81, 2, 'h', 'i', 0x81, 0x82, 1, 2, 3, 4, 'h' ^ 1, 'o' ^ 2, 0x81, 126, 1, 0}
	stream = append(stream, bytes.Repeat([]byte{'x'}, 256)...)
	stream = append(stream, 0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0)
	stream = append(stream, bytes.Repeat([]byte{'y'}, 65536)...)
	stream = append(stream, 0x01, 2, 'a', 'b', 0x89, 0, 0x80, 1, 'c') // in two pieces, a ping between them
	stream = append(stream, 0x81, 5, 'c', 'u')
	frames, err := webSocketFrames(stream)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for _, f := range frames {
		got += fmt.Sprintf("%d %.2s ", len(f), f)
	}
	if want := "2 hi 2 ho 256 xx 65536 yy 0  3 ab "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := webSocketFrames([]byte{0xc1, 0}); err == nil {
		t.Error("a compressed frame was taken")
	}
}

// plainHTTP are the arguments that have a hub speak without TLS.
func plainHTTP(t *testing.T) []string {
	t.Helper()
	help, err := exec.Command(binary(t), "hub", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("p2ptun hub --help: %v\n%s", err, help)
	}
	if strings.Contains(string(help), "plain-http") {
		return []string{"--plain-http"}
	}
	return nil
}
