package signaling

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// However the hub is away, and for however long, the node is back soon after it.
func TestClientIsBackSoon(t *testing.T) {
	for name, away := range map[string]func(l *hubLab, is bool){
		"refused": func(l *hubLab, is bool) { l.refuse.Store(is) },
		"dark":    func(l *hubLab, is bool) { l.hang.Store(is) },
	} {
		t.Run(name, func(t *testing.T) {
			var worst, sum time.Duration
			const runs = 100
			inHubLab(t, 2, nil, func(l *hubLab) {
				c := l.answer()
				for n := range runs {
					away(l, true)
					c.ws.Close()
					time.Sleep(time.Duration(n)*170*time.Millisecond + time.Millisecond)
					away(l, false)
					since := time.Now()
					c = l.accept()
					took := time.Since(since)
					worst, sum = max(worst, took), sum+took
					c.challenge(l.key.Public())
					c.readHello()
					c.send(&Welcome{Signature: c.shake.SignWelcome(l.key), Member: true})
					for up := false; !up; {
						_, up = l.next().(*Welcome)
					}
					for len(l.dials) > 0 {
						<-l.dials
					}
				}
			})
			t.Logf("back after %v on average, %v at most", (sum / runs).Round(time.Millisecond), worst)
			if worst > 2500*time.Millisecond {
				t.Errorf("back after %v, want 2.5 s at most, which leaves 500 ms for the handshake", worst)
			}
		})
	}
}

// Where the first address leads into the dark, the next one is not kept waiting.
func TestClientPassesADarkAddress(t *testing.T) {
	inHubLab(t, 3, func(l *hubLab) { l.hang.Store(true) }, func(l *hubLab) {
		for n, want := range []dial{
			{"192.0.2.1:1", 0}, {"192.0.2.2:2", nextAfter}, {"192.0.2.3:3", 2 * nextAfter},
			{"192.0.2.1:1", redialEvery}, {"192.0.2.2:2", redialEvery + nextAfter},
		} {
			if d := <-l.dials; d != want {
				t.Errorf("dial %d was %v, want %v", n, d, want)
			}
		}
		l.hang.Store(false)
		since := time.Now()
		l.answer()
		if took := time.Since(since); took > nextAfter {
			t.Errorf("connected %v after one of three led there, want %v", took, nextAfter)
		}
	})
}

// mute has the connection answer nothing any more; its reader goes on.
func (c *hubConn) mute() {
	c.ws.SetPingHandler(func(string) error { return nil })
	c.serve()
}

func (c *hubConn) echo() {
	c.ws.SetPingHandler(func(string) error {
		return c.ws.WriteControl(websocket.PongMessage, nil, time.Now().Add(time.Second))
	})
	c.serve()
}

func TestClientProbes(t *testing.T) {
	inHubLab(t, 1, nil, func(l *hubLab) {
		c := l.answer()
		<-l.dials
		c.echo()
		for range 100 {
			l.client.Probe()
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		if len(l.dials) > 0 || len(l.events) > 0 {
			t.Fatalf("a connection that answers was given up: %d dials, %d events", len(l.dials), len(l.events))
		}
	})
	// One that is known to be lost is not waited for, though it might answer.
	inHubLab(t, 1, nil, func(l *hubLab) {
		old := l.answer()
		<-l.dials
		old.echo()
		synctest.Wait()
		since := time.Now()
		l.client.Renew()
		l.accept()
		if took := time.Since(since); took != 0 {
			t.Errorf("another connection %v after Renew", took)
		}
	})
	// A dead one is replaced, and nothing says that there was none.
	inHubLab(t, 1, nil, func(l *hubLab) {
		old := l.answer()
		<-l.dials
		old.mute()
		synctest.Wait()
		l.client.Probe()
		since := time.Now()
		fresh := l.accept()
		if took := time.Since(since); took != probeWait {
			t.Errorf("another connection after %v, want %v", took, probeWait)
		}
		fresh.challenge(l.key.Public())
		fresh.readHello()
		if !l.client.Send(&Members{Sequence: 1}) {
			t.Error("the old connection was given up before there was another")
		}
		old.send(&Error{Code: CodeReplaced}) // the hub may be faster
		synctest.Wait()
		fresh.send(&Welcome{Signature: fresh.shake.SignWelcome(l.key), Member: true})
		if w, ok := l.next().(*Welcome); !ok {
			t.Fatalf("got %+v, want the new connection's welcome", w)
		}
		if !l.client.Send(&Members{Sequence: 2}) {
			t.Fatal("no connection")
		}
		if m, ok := fresh.read().(*Members); !ok || m.Sequence != 2 {
			t.Errorf("got %+v, want what was sent", m)
		}
		fresh.echo()
		time.Sleep(time.Minute)
		if len(l.events) > 0 || len(l.dials) > 1 {
			t.Errorf("%d events and %d dials more", len(l.events), len(l.dials))
		}
	})
	// It ends while the other is being made: that one is waited for.
	inHubLab(t, 1, nil, func(l *hubLab) {
		old := l.answer()
		old.mute()
		synctest.Wait()
		l.client.Probe()
		fresh := l.accept()
		old.ws.Close()
		l.down()
		fresh.challenge(l.key.Public())
		fresh.readHello()
		fresh.send(&Welcome{Signature: fresh.shake.SignWelcome(l.key), Member: true})
		if w, ok := l.next().(*Welcome); !ok {
			t.Fatalf("got %+v, want the new connection's welcome", w)
		}
	})
	// While no other can be had, the one that may be dead is still listened to.
	inHubLab(t, 1, nil, func(l *hubLab) {
		c := l.answer()
		l.hang.Store(true)
		c.mute()
		synctest.Wait()
		l.client.Probe()
		time.Sleep(3 * time.Second)
		c.send(&Members{Sequence: 3})
		if m, ok := l.next().(*Members); !ok || m.Sequence != 3 {
			t.Fatalf("got %+v, want a frame on the connection that stood", m)
		}
	})
}
