package tunnel

import (
	"bytes"
	"testing"
	"time"
)

// A packet of this node's own goes out though nothing comes from the interface, and
// what comes then is read as before.
func TestInsertWakesRead(t *testing.T) {
	l := newGateLab(t)
	own := probe(idleA, elsewhere)
	for i := range 3 {
		l.insert(own)
		select {
		case p := <-l.got:
			if !bytes.Equal(p, own) {
				t.Fatalf("read % x, want % x", p, own)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("Read does not wake")
		}
		l.write(t, packetTo(elsewhere, i, 100))
		l.expect(t, elsewhere, i)
	}
	g := newGate(newPairDevice(t))
	for range 2 * maxOwn {
		g.insert(own)
	}
	if len(g.own) != maxOwn {
		t.Errorf("%d own packets wait, want %d at most", len(g.own), maxOwn)
	}
}
