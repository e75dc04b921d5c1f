package tunnel

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func path(remote string) Path { return Path{Remote: netip.MustParseAddrPort(remote)} }

// TestAhead plays what there is to send before a path: which of it goes ahead, where,
// and what leaves when the path is there.
func TestAhead(t *testing.T) {
	initiation := wireGuardMessage(typeInitiation, initiationSize)
	response := wireGuardMessage(typeResponse, responseSize)
	data := wireGuardMessage(typeTransport, 64)
	type step struct {
		send []byte
		hope string
		sure bool
		path string
	}
	tests := []struct {
		name  string
		steps []step
		want  []string
	}{
		{"behind each check", []step{{send: data}, {hope: one}, {hope: two}}, []string{"4>" + one, "4>" + two}},
		{"what comes later", []step{{hope: one}, {hope: two}, {send: data}}, []string{"4>" + one, "4>" + two}},
		{"where the peer is first", []step{{hope: one}, {hope: two, sure: true}, {send: data}}, []string{"4>" + two, "4>" + one}},
		{"once", []step{{send: data}, {hope: one}, {hope: one}}, []string{"4>" + one}},
		{"again when it is sure", []step{{send: data}, {hope: one}, {hope: one, sure: true}, {hope: one}, {hope: one, sure: true}}, []string{"4>" + one, "4>" + one}},
		{"behind our check, too, when it was sure before", []step{{send: data}, {hope: one, sure: true}, {hope: one}, {hope: one}, {hope: one, sure: true}}, []string{"4>" + one, "4>" + one}},
		{"a response", []step{{send: response}, {hope: one}}, []string{"2>" + one}},
		{"no initiation", []step{{send: initiation}, {hope: one}, {send: initiation}}, nil},
		{"the path gets all", []step{{send: data}, {hope: one}, {path: two}, {send: data}}, []string{"4>" + one, "4>" + two, "4>" + two}},
		{"no hopes beside a path", []step{{path: two}, {hope: one}, {send: data}}, []string{"4>" + two}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, c := newFake()
			e := b.NewEndpoint(nameA, nil)
			for _, s := range tt.steps {
				switch {
				case s.hope != "":
					e.hopeFor(path(s.hope), s.sure)
				case s.path != "":
					e.SetPath(path(s.path))
				default:
					if err := b.Send([][]byte{s.send}, e); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := sentTypes(c); !slices.Equal(got, tt.want) {
				t.Errorf("sent %v, want %v", got, tt.want)
			}
		})
	}
}

// TestAheadIsBounded: a peer cannot have more than a few packets sent where it says
// that it is, and no more wait than are bearable.
func TestAheadIsBounded(t *testing.T) {
	b, c := newFake()
	e := b.NewEndpoint(nameA, nil)
	data := wireGuardMessage(typeTransport, 64)
	for i := range 100 {
		e.hopeFor(Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i+1))}, false)
		for range 10 {
			if err := b.Send([][]byte{data}, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := len(data) * len(sentTypes(c)); got > earlyAhead {
		t.Errorf("%d bytes went ahead, want at most %d", got, earlyAhead)
	}
	e.SetPath(path(one))
	if got := len(sentTypes(c)); got != earlyPackets {
		t.Errorf("%d packets waited, want %d", got, earlyPackets)
	}
	if got := b.Counters().NoPath; got != 1000-earlyPackets {
		t.Errorf("%d packets were lost, want %d", got, 1000-earlyPackets)
	}
}

// TestAheadOfSure: what goes ahead to where the peer is not leaves something to go to
// where it is, behind our check, too.
func TestAheadOfSure(t *testing.T) {
	b, c := newFake()
	e := b.NewEndpoint(nameA, nil)
	e.hopeFor(path(one), false)
	for range earlyPackets {
		if err := b.Send([][]byte{wireGuardMessage(typeTransport, 512)}, e); err != nil {
			t.Fatal(err)
		}
	}
	for _, sure := range []bool{true, false} {
		sentTypes(c) // before
		e.hopeFor(path(two), sure)
		if got := sentTypes(c); len(got) == 0 || got[0] != "4>"+two {
			t.Errorf("sure %v: sent %v, want data to where the peer is", sure, got)
		}
	}
}

// TestAnswerWithSignaling: the response to an initiation that came with the signaling
// leaves there, with a path and without; no other handshake message does.
func TestAnswerWithSignaling(t *testing.T) {
	b, _ := newFake()
	e := b.NewEndpoint(nameA, nil)
	var told [][]byte
	e.onHandshake = func(p []byte) { told = append(told, p) }
	initiation := wireGuardMessage(typeInitiation, initiationSize)
	initiation[4] = 9 // the sender's index
	response := wireGuardMessage(typeResponse, responseSize)
	response[8] = 9
	other := bytes.Clone(response)
	other[8] = 10
	send := func(p []byte) {
		t.Helper()
		if err := b.Send([][]byte{p}, e); err != nil {
			t.Fatal(err)
		}
	}
	send(response)
	e.handshakeCame(initiation)
	for range 2 {
		send(other)
		send(initiation)
		send(response)
		e.SetPath(path(one))
	}
	if len(told) != 2 || !bytes.Equal(told[0], response) || !bytes.Equal(told[1], response) {
		t.Errorf("%d messages left with the signaling, want the response twice", len(told))
	}
}

// TestEarlyResponse: a response that overtakes the answer with its key is tried with
// that key, whenever it comes, and once.
func TestEarlyResponse(t *testing.T) {
	response := wireGuardMessage(typeResponse, responseSize)
	response[4], response[8] = 7, 9 // whose index it is, and whom it answers
	for refusals := range 4 {
		r := newTestRing()
		r.Agreed(r.names['A'])
		r.Agreed(r.names['B'])
		if !r.gotResponse(response) {
			t.Fatal("the first copy was dropped")
		}
		for range refusals { // B, which it had, A, and B once more
			r.refused()
		}
		if refusals == 3 && r.gotResponse(response) {
			t.Error("a second copy was taken, with no other key")
		}
		r.Agreed(r.names['C'])
		if refusals < 3 { // under the key before
			r.refused()
		}
		if !r.device.Equal(r.names['C']) || r.gotResponse(response) {
			t.Errorf("after %d refusals: the new key is not tried, or a copy is", refusals)
		}
		r.sent(handshake(typeTransport, transportMin, 7, 0))
		r.settle(time.Now(), false)
		r.Agreed(r.names['D'])
		if again := r.again; !r.worked.Equal(r.names['C']) || again != min(refusals, 2)+1 {
			t.Errorf("after %d refusals: worked with C: %v; given %d times more", refusals, r.worked.Equal(r.names['C']), again)
		}
	}
}

// TestKeyOfOffer: an initiation that came with an offer is answered under the key of
// that session, another one under the key that the other side has shown to have.
func TestKeyOfOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestRing()
		r.Pending(r.names['A'])
		r.Pending(r.names['B'])
		uses := func(when, name string) {
			t.Helper()
			if !r.device.Equal(r.names[rune(name[0])]) {
				t.Errorf("%s: the device has not the key %s", when, name)
			}
		}
		uses("an offer was opened", "A")
		r.cameWithOffer()
		uses("with its initiation", "B")
		r.answered()
		r.settle(time.Now(), false)
		uses("it was answered", "A")
		r.cameWithOffer()
		time.Sleep(triesFor)
		r.settle(time.Now(), false)
		uses("it was not answered", "A")
	})
}
