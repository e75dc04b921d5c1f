package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"
)

// turnScript is a TURN server's side of a conversation: it gets each request and
// says what comes back.
type turnScript func(try int, m *stun.Message) (answers []*stun.Message)

// newScripted returns a client of the script.
func newScripted(t *testing.T, script turnScript) *turnClient {
	var c *turnClient
	try := 0
	c = newTURNClient(socketFunc(func(b []byte, _ netip.Addr, to netip.AddrPort) error {
		m := &stun.Message{Raw: bytes.Clone(b)}
		if to != hubAddr || m.Decode() != nil {
			t.Errorf("sent %x to %s", b, to)
			return nil
		}
		for _, a := range script(try, m) {
			c.handle(a.Raw)
		}
		try++
		return nil
	}), hubAddr, "user", "pass")
	return c
}

var longTerm = stun.NewLongTermIntegrity("user", "realm", "pass")

func turnAnswer(m *stun.Message, class stun.MessageClass, attrs ...stun.Setter) *stun.Message {
	all := []stun.Setter{stun.NewTransactionIDSetter(m.TransactionID), stun.NewType(m.Type.Method, class)}
	return stun.MustBuild(append(all, attrs...)...)
}

func TestTURNCredentials(t *testing.T) {
	challenge := func(m *stun.Message, code stun.ErrorCode, nonce string) []*stun.Message {
		return []*stun.Message{turnAnswer(m, stun.ClassErrorResponse, code, stun.NewRealm("realm"), stun.NewNonce(nonce))}
	}
	nonce := func(m *stun.Message) string {
		var n stun.Nonce
		if n.GetFrom(m) != nil || longTerm.Check(m) != nil {
			return ""
		}
		return n.String()
	}
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		c := newScripted(t, func(try int, m *stun.Message) []*stun.Message {
			requests++
			switch nonce(m) {
			case "":
				return challenge(m, stun.CodeUnauthorized, "first")
			case "first":
				return challenge(m, stun.CodeStaleNonce, "second")
			}
			return []*stun.Message{
				turnAnswer(m, stun.ClassSuccessResponse), // a stranger's
				turnAnswer(m, stun.ClassSuccessResponse, stun.NewLongTermIntegrity("user", "realm", "other")),
				turnAnswer(m, stun.ClassSuccessResponse, peerAddress(hubAddr), longTerm),
			}
		})
		got, err := c.do(t.Context(), stun.MethodRefresh)
		if err != nil || !got.Contains(stun.AttrXORPeerAddress) || requests != 3 {
			t.Errorf("%v, %v after %d requests", got, err, requests)
		}
		if err := c.refresh(t.Context()); err != nil || requests != 4 {
			t.Errorf("%v after %d requests, want the nonce kept", err, requests)
		}
	})
}

func TestTURNRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := func(code stun.ErrorCode) *turnClient {
			return newScripted(t, func(_ int, m *stun.Message) []*stun.Message {
				return []*stun.Message{turnAnswer(m, stun.ClassErrorResponse, code, stun.NewRealm("realm"), stun.NewNonce("n"))}
			})
		}
		for _, code := range []stun.ErrorCode{stun.CodeUnauthorized, stun.CodeForbidden, stun.CodeStaleNonce} {
			var refusal *stun.TurnError
			if err := refuse(code).refresh(t.Context()); !errors.As(err, &refusal) || refusal.ErrorCodeAttr.Code != code {
				t.Errorf("%v, want a refusal with %d", err, code)
			}
		}
		open := refuse(stun.CodeUnauthorized)
		open.username = ""
		if err := open.refresh(t.Context()); !errors.Is(err, errNoCredentials) {
			t.Errorf("%v, want %v", err, errNoCredentials)
		}
	})
}

// A server is asked for an address of the family that is wanted.
func TestAllocateFamily(t *testing.T) {
	for _, tt := range []struct {
		server netip.AddrPort
		ipv4   bool
		want   []byte // REQUESTED-ADDRESS-FAMILY
	}{{four4, true, nil}, {six6, false, []byte{2, 0, 0, 0}}, {six6, true, []byte{1, 0, 0, 0}}} {
		var c *turnClient
		c = newTURNClient(socketFunc(func(b []byte, _ netip.Addr, to netip.AddrPort) error {
			m := &stun.Message{Raw: bytes.Clone(b)}
			err := m.Decode()
			if family, _ := m.Get(stun.AttrRequestedAddressFamily); err != nil || to != tt.server || !bytes.Equal(family, tt.want) {
				t.Errorf("%s was asked for %v, want %v", to, family, tt.want)
			}
			c.handle(turnAnswer(m, stun.ClassSuccessResponse, relayedAddress(tt.server.Addr().AsSlice())).Raw)
			return nil
		}), tt.server, "", "")
		want := netip.AddrPortFrom(tt.server.Addr(), 5000)
		if got, err := c.allocate(t.Context(), tt.ipv4, netip.AddrPort{}); got != want || err != nil {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
}

type setterFunc func(*stun.Message) error

func (f setterFunc) AddTo(m *stun.Message) error { return f(m) }

func TestTURNSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		c := newScripted(t, func(int, *stun.Message) []*stun.Message { sent++; return nil })
		start := time.Now()
		if err := c.refresh(t.Context()); !errors.Is(err, errTURNSilent) || sent != probeSends {
			t.Errorf("%v after %d requests", err, sent)
		}
		if d := time.Since(start); d != 31*probeRTO {
			t.Errorf("gave up after %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.refresh(ctx); !errors.Is(err, context.DeadlineExceeded) || len(c.waiting) != 0 {
			t.Errorf("%v, %d requests left", err, len(c.waiting))
		}
	})
}

func TestSplitChannelData(t *testing.T) {
	for _, tt := range []struct {
		in     []byte
		number uint16
		data   []byte
		ok     bool
	}{
		{[]byte{0x40, 1, 0, 2, 7, 8}, 0x4001, []byte{7, 8}, true},
		{[]byte{0x4f, 0xff, 0, 2, 7, 8, 0, 0}, 0x4fff, []byte{7, 8}, true}, // padded
		{[]byte{0x40, 0, 0, 0}, 0x4000, []byte{}, true},
		{[]byte{0x40, 0, 0, 3, 7, 8}, 0, nil, false}, // cut
		{[]byte{0x40, 0, 0}, 0, nil, false},
		{[]byte{0x01, 0, 0, 2, 7, 8}, 0, nil, false},
		{nil, 0, nil, false},
	} {
		number, data, ok := splitChannelData(tt.in)
		if number != tt.number || !bytes.Equal(data, tt.data) || ok != tt.ok {
			t.Errorf("%x: %#x %x %v, want %#x %x %v", tt.in, number, data, ok, tt.number, tt.data, tt.ok)
		}
	}
}

func FuzzServerPackets(f *testing.F) {
	from := netip.MustParseAddrPort("198.51.100.1:7")
	f.Add([]byte{0x40, 0, 0, 2, 7, 8})
	f.Add(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodData, stun.ClassIndication), peerAddress(from), attribute(stun.AttrData, 4, 0, 0, 0)).Raw)
	f.Add(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassErrorResponse), stun.CodeStaleNonce).Raw)
	f.Add(stun.MustBuild(stun.TransactionID, stun.BindingSuccess, stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: 7}).Raw)
	u, r, _ := newBenchRelay()
	u.onRelayed = func(got *Relay, from netip.AddrPort, b []byte) {
		if got != r || !u.allowed(from) || len(b) > 1<<16 {
			panic(fmt.Sprintf("%d bytes from %s", len(b), from))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		u.Handle(b, netip.Addr{}, hubAddr)
		if !bytes.Equal(b, before) {
			t.Error("the packet was changed")
		}
	})
}

// A long datagram goes out whole: probes of the path's MTU take relays, too.
func TestLongDatagram(t *testing.T) {
	_, r, to := newBenchRelay()
	var sent []byte
	r.client.socket = socketFunc(func(b []byte, _ netip.Addr, at netip.AddrPort) error { sent = bytes.Clone(b); return nil })
	long := bytes.Repeat([]byte{4}, 9000)
	if err := r.Send(long, to); err != nil {
		t.Fatal(err)
	}
	number, data, ok := splitChannelData(sent)
	if !ok || number != channelMin || !bytes.Equal(data, long) || len(sent) != len(long)+channelHeader {
		t.Errorf("%d bytes left as channel %#x with %d, %v", len(sent), number, len(data), ok)
	}
	if r.Send(make([]byte, maxRelayed+1), to) == nil {
		t.Error("a datagram was taken that is too long")
	}
}
