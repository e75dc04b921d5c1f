package framed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func stunMessage(body int) []byte {
	m := make([]byte, headerSTUN+body)
	m[1] = 1
	binary.BigEndian.PutUint16(m[2:], uint16(body))
	return m
}

func channelData(n int) []byte {
	m := bytes.Repeat([]byte{byte(n)}, headerChannel+n)
	binary.BigEndian.PutUint16(m, 0x4001)
	binary.BigEndian.PutUint16(m[2:], uint16(n))
	return m
}

// What is sent is what is read, however the stream cuts it.
func TestRoundTrip(t *testing.T) {
	sent := [][]byte{stunMessage(0), channelData(0), channelData(1), channelData(2), channelData(3), stunMessage(24), channelData(MaxMessage - headerChannel), channelData(1400)}
	for name, cut := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "with EOF": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			var stream bytes.Buffer
			w := NewWriter(&stream)
			for i, m := range sent {
				if !w.Send(m[:i%4], m[i%4:]) {
					t.Fatalf("message %d was dropped", i)
				}
			}
			stream.Write(drain(w))
			r := NewReader(cut(&stream))
			for i, m := range sent {
				got, err := r.Next()
				if err != nil || !slices.Equal(got, m) {
					t.Fatalf("message %d: %d bytes, %v, want %d", i, len(got), err, len(m))
				}
			}
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("end: %v", err)
			}
		})
	}
}

// drain is all that w has.
func drain(w *Writer) (all []byte) {
	for {
		out := w.take(nil, time.Since(start))
		if len(out) == 0 {
			return all
		}
		all = append(all, out...)
	}
}

func TestMalformed(t *testing.T) {
	long := channelData(4)
	binary.BigEndian.PutUint16(long[2:], 0xfffc) // the frame whose padded length overflows 16 bits
	for name, b := range map[string][]byte{
		"wrapped":     append(long, make([]byte, 12)...),
		"odd STUN":    {0, 1, 0, 3},
		"long STUN":   {0, 1, 0x10, 0},
		"TLS":         {0x16, 3, 1, 2}, // two zero bits, but too long
		"above":       {0x80, 0, 0, 4},
		"sealed":      {0xc0, 0, 0, 4},
		"long Channl": {0x40, 0, 0x40, 0},
	} {
		if _, err := NewReader(bytes.NewReader(b)).Next(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewReader(bytes.NewReader(stunMessage(8)[:15])).Next(); err != io.ErrUnexpectedEOF {
		t.Errorf("cut: %v", err)
	}
}

// A stream that stands still costs the packets that waited, not those that come
// when it goes again; and who sends is never held up.
func TestSheds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		w, done, ended := NewWriter(near), make(chan struct{}), make(chan error, 1)
		go func() { ended <- w.Run(done) }()
		for i := range 200 { // 2 s
			w.Send(nil, channelData(i%200))
			time.Sleep(10 * time.Millisecond)
		}
		r := NewReader(far)
		var got []int
		for {
			far.SetReadDeadline(time.Now().Add(time.Second))
			m, err := r.Next()
			if err != nil {
				break
			}
			got = append(got, len(m)-headerChannel)
		}
		// The one that was being written, and those of the last 100 ms.
		if len(got) < 10 || len(got) > 12 || got[0] != 0 || got[len(got)-1] != 199 || w.Late() != uint64(200-len(got)) {
			t.Errorf("%d came: %v; %d dropped", len(got), got, w.Late())
		}
		close(done)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	w := NewWriter(io.Discard)
	sent := 0
	for w.Send(nil, channelData(1396)) {
		sent++
	}
	if got := sent * 1400; got > maxQueue || got < maxQueue-1400 {
		t.Errorf("%d bytes wait", got)
	}
	small := 0
	for w.Send(nil, channelData(96)) {
		small += 100
	}
	if small < smallRoom || small > smallRoom+1400 {
		t.Errorf("%d bytes of small ones wait beside them", small)
	}
	if w.Send(nil, make([]byte, MaxMessage+1)) {
		t.Error("a message that no Reader takes was sent")
	}
}

func TestBrokenStream(t *testing.T) {
	w := NewWriter(iotestErrWriter{})
	w.Send(nil, channelData(4))
	if err := w.Run(nil); err != io.ErrClosedPipe {
		t.Error(err)
	}
}

type iotestErrWriter struct{}

func (iotestErrWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A Reader takes what anybody sends.
func FuzzReader(f *testing.F) {
	f.Add(append(stunMessage(8), channelData(5)...))
	f.Add([]byte{0x40, 0, 0xff, 0xfc, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(iotest.HalfReader(bytes.NewReader(b)))
		left := len(b)
		for {
			m, err := r.Next()
			if err != nil {
				return
			}
			if len(m) < headerChannel || len(m) > left {
				t.Fatalf("%d bytes of %d", len(m), left)
			}
			left -= len(m)
		}
	})
}
