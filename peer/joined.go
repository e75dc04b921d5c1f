package peer

import (
	"context"
	"errors"
	"time"

	"github.com/pion/stun/v4"
)

// Kernels and drivers exist that get datagrams wrong which they were given
// joined (UDP GSO): they leave with broken lengths or checksums, and are lost.
// That happens between the kernel and the network, where no test on the machine
// itself looks. So each server is asked, once for each network that this node is
// in: Binding requests that leave joined, in the forms that data have, must be
// answered as well as those that leave by themselves.

const (
	joinedSize   = 700 // bytes of a request: three are more than one frame of Ethernet
	joinedRounds = 3
	joinedWait   = 300 * time.Millisecond // for answers, and four round trips
)

// joinedForms are the sizes that leave joined: a shorter last one, and none.
var joinedForms = [][]int{{joinedSize, joinedSize, joinedSize}, {joinedSize, joinedSize, joinedSize / 2}}

// joinedTest is what is known of the requests of one test.
type joinedTest struct {
	answered map[transactionID]bool
	news     chan struct{}
}

// testJoined finds out whether the network carries what leaves joined. It is
// false in decided where the server's silence says nothing.
func (s *server) testJoined(ctx context.Context) (carried, decided bool) {
	reached := make(map[int]bool) // places in all forms, one after the other
	for range joinedRounds {
		t := &joinedTest{answered: make(map[transactionID]bool), news: make(chan struct{}, 1)}
		// One before and one after: a server that limits its answers says nothing.
		alone := []*stun.Message{t.request(joinedSize), t.request(joinedSize)}
		var joined []*stun.Message
		var forms [][][]byte
		for _, sizes := range joinedForms {
			var form [][]byte
			for _, n := range sizes {
				m := t.request(n)
				joined, form = append(joined, m), append(form, m.Raw)
			}
			forms = append(forms, form)
		}
		s.probe.setTest(t)
		s.sendAlone(alone[0])
		for _, form := range forms {
			if err := s.underlay.socket.SendJoined(form, s.addr); errors.Is(err, errors.ErrUnsupported) {
				s.probe.setTest(nil)
				return true, false
			}
		}
		s.sendAlone(alone[1])
		s.probe.await(ctx, t, joinedWait+4*s.probe.measured().rtt)
		if ctx.Err() != nil || !t.answered[alone[0].TransactionID] || !t.answered[alone[1].TransactionID] {
			return true, false
		}
		for i, m := range joined {
			if t.answered[m.TransactionID] {
				reached[i] = true
			}
		}
		if len(reached) == len(joined) {
			return true, true
		}
	}
	return false, true
}

func (s *server) sendAlone(m *stun.Message) {
	if s.underlay.socket.SendTo(m.Raw, zeroAddr, s.addr) != nil {
		s.underlay.drops.unsent.Add(1)
	}
}

// request makes a Binding request of n bytes.
func (t *joinedTest) request(n int) *stun.Message {
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest,
		padding((n-stunHeader-4)&^3))
	t.answered[m.TransactionID] = false
	return m
}

// setTest has answers to a test's requests noted; nil ends it.
func (p *probe) setTest(t *joinedTest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.test = t
}

// noteLocked says whether a response is to a test's request.
func (p *probe) noteLocked(id transactionID) bool {
	if p.test == nil {
		return false
	}
	if _, ours := p.test.answered[id]; !ours {
		return false
	}
	p.test.answered[id] = true
	signal(p.test.news)
	return true
}

// await returns when all requests of a test are answered, or the time is over.
// It ends the test, so that what it found is the caller's.
func (p *probe) await(ctx context.Context, t *joinedTest, limit time.Duration) {
	defer p.setTest(nil)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-t.news:
		}
		p.mu.Lock()
		left := 0
		for _, answered := range t.answered {
			if !answered {
				left++
			}
		}
		p.mu.Unlock()
		if left == 0 {
			return
		}
	}
}

// judgeJoined tests the way to the server where it is new.
func (s *server) judgeJoined(ctx context.Context, r reflexive) {
	if s.judged == r {
		return
	}
	if carried, decided := s.testJoined(ctx); decided {
		s.judged = r
		s.underlay.setJoined(s, carried)
	}
}

// setJoined takes a server's verdict. One that is bad is enough: the data take
// the same way out.
func (u *Underlay) setJoined(s *server, carried bool) {
	u.mu.Lock()
	f, ok := u.found[s]
	before := u.mangledLocked(s.addr.Addr().Is4())
	if ok {
		f.mangled = !carried
		u.found[s] = f
	}
	after := u.mangledLocked(s.addr.Addr().Is4())
	u.mu.Unlock()
	if before == after {
		return
	}
	if after {
		u.log.Warn("datagrams that leave joined do not arrive, but those that leave by themselves do: UDP GSO is off", "server", s.addr)
	} else {
		u.log.Info("datagrams that leave joined arrive: UDP GSO is on", "server", s.addr)
	}
	u.socket.SetJoining(s.addr.Addr().Is4(), !after)
}

func (u *Underlay) mangledLocked(is4 bool) bool {
	for s, f := range u.found {
		if f.mangled && s.addr.Addr().Is4() == is4 {
			return true
		}
	}
	return false
}
