package tun

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// inside runs f in a network of its own, which is there as long as f runs.
func inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends, and its network with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// cable carries packets from one interface to another, until one is closed. Each
// odd one of the calls' batches is reversed if mixed.
func cable(from, to *Interface, mixed bool, batches, packets *atomic.Int64) error {
	const offset = 16
	in, out := from.Device(), to.Device()
	bufs, sizes := make([][]byte, in.BatchSize()), make([]int, in.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, 65535)
	}
	var batch [][]byte
	for {
		n, err := in.Read(bufs, sizes, offset)
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		batch = batch[:0]
		for i := range n {
			batch = append(batch, bufs[i][:offset+len(trimmed(bufs[i][offset:][:sizes[i]]))])
		}
		batches.Add(1)
		packets.Add(int64(n))
		if mixed && len(batch) > 2 {
			batch[0], batch[1] = batch[1], batch[0]
		}
		if _, err := out.Write(batch, offset); err != nil && !errors.Is(err, os.ErrClosed) {
			return err
		}
	}
}

// trimmed takes the padding off, as WireGuard does on arrival.
func trimmed(p []byte) []byte {
	if p[0]>>4 == 6 {
		return p[:ipv6Size+int(p[4])<<8+int(p[5])]
	}
	return p[:int(p[2])<<8+int(p[3])]
}

// TestTransfer: the kernel's TCP and UDP understand the packets that are cut
// and joined here, on two machines with these interfaces and a cable between.
func TestTransfer(t *testing.T) {
	needTUN(t)
	for _, plain := range []bool{false, true} {
		for _, mixed := range []bool{false, true} {
			t.Run(fmt.Sprintf("plain %v, mixed %v", plain, mixed), func(t *testing.T) { transferTest(t, plain, mixed) })
		}
	}
}

func transferConfig(plain bool, host int) Config {
	return Config{Name: "p2ptun0", MTU: 1420, Plain: plain, Prefixes: prefixes(fmt.Sprintf("10.77.0.%d/16", host), fmt.Sprintf("fd77::%d/64", host))}
}

func transferTest(t *testing.T, plain, mixed bool) {
	const size = 16 << 20
	data := make([]byte, size)
	source := rand.NewChaCha8([32]byte{1})
	source.Read(data)

	var near, far *Interface
	listeners := make(chan net.Listener, 2)
	datagrams := make(chan *net.UDPConn, 1)
	end, ended := make(chan bool), make(chan error, 1)
	go func() {
		ended <- inside(func() (err error) {
			defer close(datagrams)
			if far, err = Open(transferConfig(plain, 2)); err != nil {
				return err
			}
			for _, a := range []string{"10.77.0.2:7", "[fd77::2]:7"} {
				l, err := net.Listen("tcp", a)
				if err != nil {
					return err
				}
				listeners <- l
			}
			u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.77.0.2:9")))
			if err != nil {
				return err
			}
			datagrams <- u
			<-end
			return nil
		})
	}()
	u, ok := <-datagrams
	if !ok {
		t.Fatal(<-ended)
	}
	defer u.Close()
	defer func() {
		close(end)
		must(t, <-ended)
	}()
	err := inside(func() (err error) {
		if near, err = Open(transferConfig(plain, 1)); err != nil {
			return err
		}
		var cables, work errgroup.Group
		var batches, packets atomic.Int64
		cables.Go(func() error { return cable(near, far, mixed, &batches, &packets) })
		cables.Go(func() error { return cable(far, near, mixed, &batches, &packets) })
		for range 2 {
			l := <-listeners
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return err
			}
			work.Go(func() error { return echo(l) })
			work.Go(func() error { return exchange(c, data) })
		}
		if err := sendDatagrams(u); err != nil {
			return err
		}
		err = work.Wait()
		t.Logf("%d packets in %d batches", packets.Load(), batches.Load())
		if !plain && packets.Load() < 4*batches.Load() {
			t.Error("the kernel's packets were not joined")
		}
		return errors.Join(err, near.Close(), far.Close(), cables.Wait())
	})
	must(t, err)
}

// echo sends back all that comes by the next connection.
func echo(l net.Listener) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
	return err
}

// exchange sends data and reads it back.
func exchange(c net.Conn, data []byte) error {
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	var both errgroup.Group
	both.Go(func() error {
		_, err := c.Write(data)
		return err
	})
	both.Go(func() error {
		h := sha256.New()
		if _, err := io.CopyN(h, c, int64(len(data))); err != nil {
			return err
		}
		if want := sha256.Sum256(data); !bytes.Equal(h.Sum(nil), want[:]) {
			return errors.New("the data differ")
		}
		return nil
	})
	return both.Wait()
}

// sendDatagrams sends bursts that the kernel keeps together (UDP_SEGMENT), from
// the thread's network, and reads them from u.
func sendDatagrams(u *net.UDPConn) error {
	c, err := net.Dial("udp", "10.77.0.2:9")
	if err != nil {
		return err
	}
	defer c.Close()
	u.SetReadDeadline(time.Now().Add(10 * time.Second))
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000) })
	if err != nil {
		return err
	}
	burst := bytes.Repeat([]byte{1}, 20_500)
	if _, err := c.Write(burst); err != nil {
		return err
	}
	b := make([]byte, 2000)
	for left := len(burst); left > 0; {
		n, err := u.Read(b)
		if err != nil {
			return err
		}
		if n != min(1000, left) && n != 500 {
			return fmt.Errorf("a datagram of %d bytes", n)
		}
		left -= n
	}
	return nil
}
