package tunnel

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// testRing is a keyRing over a device and a disk that are the test's.
type testRing struct {
	*keyRing
	names  map[rune]config.PresharedKey
	device config.PresharedKey
	sets   int // how often the device's key was changed
	disk   config.PeerKeys
	again  int // responses given once more
}

func newTestRing() *testRing {
	r := &testRing{keyRing: newKeyRing(config.PeerKeys{}, slog.New(slog.DiscardHandler)), names: make(map[rune]config.PresharedKey)}
	r.give(func(k config.PresharedKey) error { r.device = k; return nil })
	r.install = func(k config.PresharedKey) error { r.device = k; r.sets++; return nil }
	r.save = func(k config.PeerKeys) func() error { r.disk = k; return func() error { return nil } }
	r.keyRing.again = func([]byte) { r.again++ }
	for _, c := range "ABCDE" {
		r.names[c] = config.NewPresharedKey()
	}
	return r
}

// text is the ring's keys by name, the one in use as a capital; want the same
// of the disk, and in the device what is in use.
func (r *testRing) text(t *testing.T) string {
	t.Helper()
	show := func(p config.PeerKeys) (s string) {
		for i, k := range p.Keys {
			for name, other := range r.names {
				if k.Equal(other) && i == p.Use {
					s += string(name)
				} else if k.Equal(other) {
					s += strings.ToLower(string(name))
				}
			}
		}
		return s
	}
	got := show(config.PeerKeys{Keys: r.keys, Use: r.use})
	if disk := show(r.disk); disk != got {
		t.Errorf("on disk %q, want %q", disk, got)
	}
	if !r.device.Equal(r.keys[r.use]) {
		t.Errorf("%q: the device has another key than the one in use", got)
	}
	return got
}

// TestKeyRing plays what sessions and handshakes do to the keys. Capitals are
// in use.
func TestKeyRing(t *testing.T) {
	tests := []struct{ name, events, want string }{
		{"the first is in use at once", "pendingA", "A"},
		{"answered, no proof yet", "agreedA pendingB", "Ab"},
		{"answered and proved", "agreedA pendingB provedB", "aB"},
		{"offered", "agreedA agreedB", "aB"},
		{"proof of an older one", "agreedA pendingB agreedC provedB", "abC"},
		{"the same twice", "agreedA pendingB pendingB agreedA", "Ab"},
		{"answers that the peer never saw", "agreedA pendingB pendingC pendingD", "Acd"},
		{"proof of one that went", "agreedA pendingB pendingC pendingD provedB", "Acd"},
		{"renewed without handshakes", "agreedA agreedB agreedC agreedD", "bcD"},
		{"what a handshake was under stays", "agreedA respond complete agreedB agreedC agreedD", "acD"},
		{"older keys stay a minute", "agreedA agreedB respond complete", "aB"},
		{"and go then", "agreedA agreedB respond complete minute", "B"},
		{"not before a handshake", "agreedA agreedB minute minute", "aB"},
		{"not by a handshake under the old", "agreedA pendingB respond complete minute", "Ab"},
		{"not newer ones", "agreedA agreedB pendingC respond complete minute", "Bc"},
		{"a handshake that was not ours to answer", "agreedA agreedB complete minute", "aB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, now := newTestRing(), time.Now()
			for _, event := range strings.Fields(tt.events) {
				k := r.names[rune(event[len(event)-1])]
				switch event[:len(event)-1] {
				case "pending":
					r.Pending(k)
				case "proved":
					r.Proved(k)
				case "agreed":
					r.Agreed(k)
				case "respon":
					r.answered()
				case "complet":
					r.settle(now, true)
				case "minut":
					now = now.Add(dropAfter)
					r.settle(now, false)
				}
			}
			if got := r.text(t); got != tt.want {
				t.Errorf("keys %s, want %s", got, tt.want)
			}
		})
	}
}

// The device's key is changed when it has to be, and no more.
func TestKeyRingSets(t *testing.T) {
	r := newTestRing()
	r.Pending(r.names['A'])
	r.Proved(r.names['A'])
	r.Pending(r.names['B'])
	r.settle(time.Now(), false)
	if r.sets != 1 {
		t.Errorf("the device's key was set %d times, want once", r.sets)
	}
	r.install = func(config.PresharedKey) error { return errors.New("closed") }
	r.Proved(r.names['B'])
	r.install = func(k config.PresharedKey) error { r.device = k; return nil }
	r.settle(time.Now(), false) // makes up for it
	if got := r.text(t); got != "aB" {
		t.Errorf("keys %s, want aB", got)
	}
	device, disk := r.device, r.disk
	r.close()
	r.Pending(r.names['C'])
	r.Agreed(r.names['D'])
	r.settle(time.Now(), true)
	if len(r.keys) > 0 || !r.device.Equal(device) || len(r.disk.Keys) != len(disk.Keys) {
		t.Error("a closed ring has keys, or changed the device or the disk")
	}
}

// handshake returns a message with its indices.
func handshake(kind byte, size int, sender, receiver uint32) []byte {
	p := wireGuardMessage(kind, size)
	binary.LittleEndian.PutUint32(p[4:], sender)
	if kind == typeResponse {
		binary.LittleEndian.PutUint32(p[8:], receiver)
	}
	return p
}

// TestResponses: of all responses that arrive the device gets one at a time.
func TestResponses(t *testing.T) {
	response := func(sender, receiver uint32) []byte { return handshake(typeResponse, responseSize, sender, receiver) }
	fits := handshake(typeTransport, transportMin, 7, 0) // index 4 is its receiver
	tests := []struct {
		name  string
		play  func(b *Bind, r *testRing, e *Endpoint)
		p     []byte
		given bool
	}{
		{"the response", nil, response(7, 1), true},
		{"to nothing of ours", nil, response(7, 2), false},
		{"the same again", func(b *Bind, r *testRing, e *Endpoint) { arrive(b, response(7, 1), stranger) }, response(7, 1), false},
		{"another meanwhile", func(b *Bind, r *testRing, e *Endpoint) { arrive(b, response(7, 1), stranger) }, response(8, 1), false},
		{"another when it was refused", func(b *Bind, r *testRing, e *Endpoint) {
			arrive(b, response(7, 1), stranger)
			for range 3 {
				b.refused(e.DstToString())
			}
		}, response(8, 1), true},
		{"the same when it was refused", func(b *Bind, r *testRing, e *Endpoint) {
			arrive(b, response(7, 1), stranger)
			for range 3 {
				b.refused(e.DstToString())
			}
		}, response(7, 1), false},
		{"the same when it fitted", func(b *Bind, r *testRing, e *Endpoint) {
			arrive(b, response(7, 1), stranger)
			b.Send([][]byte{fits}, e)
		}, response(7, 1), false},
		{"to another initiation", func(b *Bind, r *testRing, e *Endpoint) {
			arrive(b, response(7, 1), stranger)
			b.Send([][]byte{handshake(typeInitiation, initiationSize, 2, 0)}, e)
		}, response(8, 2), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, _ := newFake()
			e, r := b.NewEndpoint(nameA, nil), newTestRing()
			r.Agreed(r.names['A'])
			r.Agreed(r.names['B'])
			e.keys = r.keyRing
			e.SetPath(Path{Remote: stranger})
			b.Send([][]byte{handshake(typeInitiation, initiationSize, 1, 0)}, e)
			if tt.play != nil {
				tt.play(b, r, e)
			}
			if got := arrive(b, tt.p, stranger); got != tt.given {
				t.Errorf("given to the device: %v, want %v", got, tt.given)
			}
		})
	}
}

// TestTries: a refused response is tried with each key, the one in use last,
// and what it fitted is known after. Then the key in use is in the device again.
func TestTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		response := handshake(typeResponse, responseSize, 7, 1)
		for fitting, want := range map[int]string{0: "b", 1: "c", 2: "a", 3: "b", 4: ""} {
			r := newTestRing()
			for _, c := range "AB" {
				r.Agreed(r.names[c])
			}
			r.Pending(r.names['C'])
			if !r.gotResponse(response) {
				t.Fatal("not given to the device")
			}
			var order []string
			for i := range fitting {
				r.refused()
				for name, k := range r.names {
					if i < 3 && r.device.Equal(k) {
						order = append(order, string(name))
					}
				}
			}
			if full := []string{"C", "A", "B"}; !slices.Equal(order, full[:min(fitting, 3)]) || r.again != min(fitting, 3) {
				t.Errorf("tried %v, %d times", order, r.again)
			}
			r.sent(handshake(typeTransport, transportMin, 7, 0))
			r.settle(time.Now(), false)
			r.refused() // too late for anything
			worked := ""
			for name, k := range r.names {
				if k.Equal(r.worked) {
					worked = strings.ToLower(string(name))
				}
			}
			if worked != want {
				t.Errorf("refused %d times: worked with %q, want %q", fitting, worked, want)
			}
			use := map[string]string{"c": "abC"}[want] // the other side has it
			if use == "" {
				use = "aBc"
			}
			if got := r.text(t); got != use {
				t.Errorf("refused %d times: keys %s, want %s", fitting, got, use)
			}
		}

		// The device may say nothing.
		r := newTestRing()
		r.Agreed(r.names['A'])
		r.Agreed(r.names['B'])
		r.gotResponse(response)
		r.refused()
		r.settle(time.Now(), false)
		if !r.device.Equal(r.names['A']) {
			t.Error("given up at once")
		}
		time.Sleep(triesFor)
		r.settle(time.Now(), false)
		if got := r.text(t); got != "aB" || r.tries.active() {
			t.Errorf("keys %s after a while", got)
		}
	})
}

// The device may answer a handshake under a key that is only being tried. That
// it completes says nothing of the one in use.
func TestAnsweredDuringTries(t *testing.T) {
	r, now := newTestRing(), time.Now()
	r.Agreed(r.names['A'])
	r.Pending(r.names['B'])
	r.gotResponse(handshake(typeResponse, responseSize, 7, 1))
	r.refused()
	r.answered() // under B
	for range 3 {
		r.refused()
	}
	r.settle(now, true)
	r.settle(now.Add(dropAfter), false)
	if got := r.text(t); got != "Ab" {
		t.Errorf("keys %s, want Ab", got)
	}
}

// A stranger's response to nothing of ours costs no change of keys.
func TestForgedResponse(t *testing.T) {
	b, _ := newFake()
	e, r := b.NewEndpoint(nameA, nil), newTestRing()
	r.Agreed(r.names['A'])
	r.Agreed(r.names['B'])
	e.keys = r.keyRing
	e.SetPath(Path{Remote: netip.MustParseAddrPort(one)})
	b.Send([][]byte{handshake(typeInitiation, initiationSize, 1, 0)}, e)
	sets := r.sets
	arrive(b, handshake(typeResponse, responseSize, 9, 77), netip.MustParseAddrPort(one))
	b.refused(e.DstToString())
	b.refused("nobody")
	if r.sets != sets || r.again != 0 {
		t.Errorf("%d changes of the key, %d tries", r.sets-sets, r.again)
	}
}
