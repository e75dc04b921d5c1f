package tunnel

import (
	"crypto/hmac"
	"encoding/binary"
	"hash"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
	wgdevice "golang.zx2c4.com/wireguard/device"
)

func blake(parts ...[]byte) []byte {
	h, _ := blake2s.New256(nil)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// kdf2 is the paper's function of that name.
func kdf2(key, input []byte) (one, two []byte) {
	mac := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(func() hash.Hash { h, _ := blake2s.New256(nil); return h }, key)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	secret := mac(key, input)
	one = mac(secret, []byte{1})
	return one, mac(secret, one, []byte{2})
}

// initiationAt is an initiation (WireGuard paper, section 5.4.2) of a machine
// whose clock shows the time.
func initiationAt(t *testing.T, from config.WireGuardPrivateKey, to config.WireGuardKey, clock time.Time) []byte {
	t.Helper()
	ephemeral := config.NewWireGuardKey()
	shared := func(k config.WireGuardPrivateKey) []byte {
		s, err := k.Shared(to)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	public, sender := ephemeral.Public(), from.Public()
	chain := blake([]byte(wgdevice.NoiseConstruction))
	h := blake(blake(chain, []byte(wgdevice.WGIdentifier)), to[:])
	msg := binary.LittleEndian.AppendUint32(nil, typeInitiation)
	msg = binary.LittleEndian.AppendUint32(msg, 99)
	msg = append(msg, public[:]...)
	chain, _ = kdf2(chain, public[:]) // KDF1 is the first half
	h = blake(h, public[:])
	stamp := binary.BigEndian.AppendUint64(nil, 0x400000000000000a+uint64(clock.Unix()))
	stamp = binary.BigEndian.AppendUint32(stamp, 0)
	for _, part := range []struct{ secret, plain []byte }{{shared(ephemeral), sender[:]}, {shared(from), stamp}} {
		var key []byte
		chain, key = kdf2(chain, part.secret)
		aead, _ := chacha20poly1305.New(key)
		box := aead.Seal(nil, make([]byte, aead.NonceSize()), part.plain, h)
		h = blake(h, box)
		msg = append(msg, box...)
	}
	mac, _ := blake2s.New128(blake([]byte(wgdevice.WGLabelMAC1), to[:]))
	mac.Write(msg)
	msg = append(mac.Sum(msg), make([]byte, blake2s.Size128)...)
	if len(msg) != initiationSize {
		t.Fatalf("an initiation of %d bytes", len(msg))
	}
	return msg
}

// remembers has the side know its peer's clock an hour from now.
func (s *side) remembers(t *testing.T, other *side) {
	t.Helper()
	answer, addr := listenUDP(t, "127.0.0.1:0")
	s.peer.SetPath(Path{Remote: addr})
	s.bind.enqueue(s.peer, initiationAt(t, other.private, s.private.Public(), time.Now().Add(time.Hour)))
	answer.SetReadDeadline(time.Now().Add(patience))
	if n, err := answer.Read(make([]byte, 200)); n != responseSize {
		t.Fatalf("answered by %d bytes, %v; want a response", n, err)
	}
	s.peer.SetPath(Path{})
	s.expire() // WireGuard would begin no handshake for 5 s
}

// follow does what a Node does about its unanswered initiations, until it calls
// the peer.
func (s *side) follow(t *testing.T, r *refused, lower bool) (forget bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if call, forget := r.act(time.Now(), s.peer.unanswered(), lower, true); call {
			return forget
		}
	}
	t.Fatal("it calls nobody")
	return false
}

// TestClockWentBack: who is refused calls the other, who begins.
func TestClockWentBack(t *testing.T) {
	for _, lower := range []bool{true, false} {
		checkLeaks(t)
		back, other := newSides(t)
		if lower {
			back.peer.Lead()
		} else {
			other.peer.Lead()
		}
		other.remembers(t, back)
		connect(back, other)
		start := time.Now()
		back.tun.Outbound <- back.packetTo(other, 1)
		silent(t, other)
		if forget := back.follow(t, new(refused), lower); forget {
			t.Error("it forgets the other's time, who did not call")
		}
		other.begin(false)
		if got := other.got(t); got != 1 {
			t.Errorf("packet %d arrived, want 1", got)
		}
		if took := time.Since(start); took > callAfter+soon {
			t.Errorf("the first packet took %v", took)
		}
		other.ping(t, back, 2)
	}
}

// begin is what member.initiate does.
func (s *side) begin(sessionless bool) {
	begin(s.dev.LookupPeer(wgdevice.NoisePublicKey(s.otherKey)), sessionless)
}

// TestCalledAfterCrash: who is called by a peer that has no session begins at once,
// though it has a session and has answered a handshake within 5 s.
func TestCalledAfterCrash(t *testing.T) {
	checkLeaks(t)
	a, b := newSides(t)
	connect(a, b)
	a.ping(t, b, 1)
	a = a.crash(t, 1, 2)
	connect(a, b)
	start := time.Now()
	b.begin(true)
	b.ping(t, a, 2)
	a.ping(t, b, 3)
	if took := time.Since(start); took > soon {
		t.Errorf("the first packets took %v", took)
	}
}

// TestBothClocksWentBack: the side with the lower key forgets.
func TestBothClocksWentBack(t *testing.T) {
	checkLeaks(t)
	low, high := newSides(t)
	low.peer.Lead()
	low.remembers(t, high)
	high.remembers(t, low)
	connect(low, high)
	low.tun.Outbound <- low.packetTo(high, 1)
	high.tun.Outbound <- high.packetTo(low, 2)
	silent(t, high)
	silent(t, low)
	var ofLow, ofHigh refused
	if low.follow(t, &ofLow, true) || high.follow(t, &ofHigh, false) {
		t.Fatal("forgotten before the other called")
	}
	ofLow.calledBy = time.Now()
	ofHigh.calledBy = time.Now()
	start := time.Now()
	if !low.follow(t, &ofLow, true) {
		t.Fatal("not forgotten when the other called")
	}
	low.dev.RemovePeer(wgdevice.NoisePublicKey(low.otherKey))
	low.addPeer(t)
	low.peer.forgetHandshake()
	high.begin(false) // or later, by itself: it has begun one in the last 5 s
	if got := number(next(t, low.tun.Inbound)); got != 2 {
		t.Errorf("packet %d arrived, want 2", got)
	}
	t.Logf("%v after the second call", time.Since(start))
	low.ping(t, high, 3)
}

// TestRefusedAct: when the peer is called, and when its time is forgotten.
func TestRefusedAct(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, tt := range []struct {
		name                   string
		left, called, calledBy time.Time
		lower, path            bool
		call, forget           bool
	}{
		{"nothing unanswered", time.Time{}, time.Time{}, ago(time.Second), true, true, false, false},
		{"just left", ago(callAfter - 1), time.Time{}, ago(time.Second), true, true, false, false},
		{"unanswered", ago(callAfter), time.Time{}, time.Time{}, true, true, true, false},
		{"no path", ago(callAfter), time.Time{}, time.Time{}, true, false, false, false},
		{"given up", ago(handshakeKeep + 1), time.Time{}, time.Time{}, true, true, false, false},
		{"called just now", ago(3 * time.Second), ago(callEvery - 1), ago(time.Second), true, true, false, false},
		{"called a while ago", ago(3 * time.Second), ago(callEvery), time.Time{}, true, true, true, false},
		{"the peer called before", ago(3 * time.Second), time.Time{}, ago(4 * time.Second), true, true, true, false},
		{"the peer calls, too", ago(3 * time.Second), time.Time{}, ago(time.Second), true, true, true, true},
		{"the peer has the lower key", ago(3 * time.Second), time.Time{}, ago(time.Second), false, true, true, false},
	} {
		r := refused{called: tt.called, calledBy: tt.calledBy}
		call, forget := r.act(now, tt.left, tt.lower, tt.path)
		if call != tt.call || forget != tt.forget {
			t.Errorf("%s: call %v, forget %v; want %v, %v", tt.name, call, forget, tt.call, tt.forget)
		}
	}
}
