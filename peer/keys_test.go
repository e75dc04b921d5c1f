package peer

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// diary keeps what happened on both sides, in order, and the keys.
type diary struct {
	mu    sync.Mutex // guards all below
	lines []string
	keys  map[string]config.PresharedKey // the newest of each line
}

func (d *diary) add(line string, k config.PresharedKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
	d.keys[line] = k
}

// take returns what happened since the last time.
func (d *diary) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

// sealedAnswer begins an answer, see signaling/seal.go.
const sealedAnswer = 2

// sideKeys is the Keys of one side.
type sideKeys struct {
	name string
	*diary
}

func (s sideKeys) Pending(k config.PresharedKey) { s.add(s.name+" pending", k) }
func (s sideKeys) Proved(k config.PresharedKey)  { s.add(s.name+" proved", k) }
func (s sideKeys) Agreed(k config.PresharedKey)  { s.add(s.name+" agreed", k) }

// record has a diary kept of keys, paths and sealed messages.
func (d *diary) record(name string, c *Config) {
	c.Keys = sideKeys{name, d}
	path, send := c.OnPath, c.Send
	c.OnPath = func(p Path) { d.add(name+" path", config.PresharedKey{}); path(p) }
	c.Send = func(b []byte) {
		if b[0] == sealedAnswer {
			d.add(name+" answers", config.PresharedKey{})
		}
		send(b)
	}
}

// TestKeys: who answers has the key before the answer leaves, who offered
// before its first check; and before either side has a path, both know that the
// other has the key. In a later session the path stays.
func TestKeys(t *testing.T) {
	inLab(t, func(l *lab) {
		d := &diary{keys: make(map[string]config.PresharedKey)}
		k := l.pair(public(l), public(l), func(a, b *Config) { d.record("a", a); d.record("b", b) })
		k.online()
		want := []string{"a agreed", "b proved", "b pending", "a path", "b path"}
		var last config.PresharedKey
		for i := range 3 {
			var all []string
			l.until(10*time.Second, "the session's news on both sides", func() bool {
				all = append(all, d.take()...)
				return !slices.ContainsFunc(want, func(line string) bool { return !slices.Contains(all, line) })
			})
			before := func(one, other string) {
				t.Helper()
				if at := slices.Index(all, other); at >= 0 && slices.Index(all, one) > at {
					t.Errorf("session %d: %q is not before %q: %q", i, one, other, all)
				}
			}
			before("b pending", "b answers")
			before("a agreed", "b proved")
			before("a agreed", "b path")
			before("b proved", "a path")
			key := d.keys["a agreed"]
			if key.IsZero() || !key.Equal(d.keys["b pending"]) || !key.Equal(d.keys["b proved"]) || key.Equal(last) {
				t.Errorf("session %d: the sides have not one new key", i)
			}
			last, want = key, want[:3]
			time.Sleep(5 * time.Second)
			d.take()
			k.a.underlay.SetAddresses([]netip.Addr{k.a.addr.Addr(), netip.AddrFrom4([4]byte{203, 0, 113, byte(200 + i)})})
		}
	})
}

// TestFrameProves: where no check arrives, the word that follows it shows that the
// answer did.
func TestFrameProves(t *testing.T) {
	inLab(t, func(l *lab) {
		d := &diary{keys: make(map[string]config.PresharedKey)}
		k := l.pair(public(l), public(l), func(a, b *Config) { d.record("a", a); d.record("b", b) })
		l.lose(func(netip.AddrPort, netip.AddrPort, []byte) bool { return true })
		k.online()
		var all []string
		happened := func(line string) func() bool {
			return func() bool {
				all = append(all, d.take()...)
				return slices.Contains(all, line)
			}
		}
		l.until(time.Second, "proved", happened("b proved"))
		if !slices.Contains(all, "a agreed") {
			t.Errorf("%q: proved before a had the answer", all)
		}
	})
}
