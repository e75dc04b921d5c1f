package peer

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

// outgoing keeps the STUN messages that an underlay sends.
type outgoing struct{ messages chan stun.Message }

func (outgoing) SendJoined([][]byte, netip.AddrPort) error { return errors.ErrUnsupported }
func (outgoing) SetJoining(_, _ bool)                      {}
func (o outgoing) Probe(b []byte, local netip.Addr, to netip.AddrPort) error {
	return o.SendTo(b, local, to)
}

func (o outgoing) SendTo(b []byte, _ netip.Addr, _ netip.AddrPort) error {
	m := stun.Message{Raw: append([]byte(nil), b...)}
	if err := m.Decode(); err != nil {
		return err
	}
	o.messages <- m
	return nil
}

// drain returns how many messages of a type are there.
func (o outgoing) drain(typ stun.MessageType) (count int) {
	for {
		select {
		case m := <-o.messages:
			if m.Type == typ {
				count++
			}
		default:
			return count
		}
	}
}

// checkFrom is an authentic check of the peer's of session g.
func checkFrom(g *generation, role ice.Role) []byte {
	return stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername(g.ufrag+":theirs"),
		ice.AttrControl{Role: role, Tiebreaker: 1}, ice.PriorityAttr(7),
		stun.NewShortTermIntegrity(g.pwd), stun.Fingerprint).Raw
}

// A check of the peer's is answered by one check at once, in either role, and
// not in 200 ms. The agent alone does that in one role only.
func TestCheckAnswersCheck(t *testing.T) {
	for _, controlling := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			out := outgoing{make(chan stun.Message, 1000)}
			u := NewUnderlay(UnderlayConfig{Socket: out, Port: testLocal.Port()})
			u.SetAddresses([]netip.Addr{testLocal.Addr()})
			told := make(chan netip.AddrPort, 10)
			g, err := newGeneration(u, func() {}, func(_ *Relay, a netip.AddrPort) { told <- a }, noTunnel{}.Heard)
			if err != nil {
				t.Fatal(err)
			}
			defer g.close()
			remote, _ := Candidate{Type: Host, Addr: testRemote}.build(1)
			d := description{Ufrag: "theirs", Pwd: testPwd, Candidates: []string{remote.Marshal()}}
			if err := g.start(d, controlling, time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
			if n := out.drain(stun.BindingRequest); n == 0 {
				t.Fatal("no checks at first")
			}
			theirs := ice.Controlling
			if controlling {
				theirs = ice.Controlled
			}
			u.Handle(checkFrom(g, theirs), testLocal.Addr(), testRemote)
			synctest.Wait()
			if n := out.drain(stun.BindingRequest); n != 1 {
				t.Errorf("controlling %v: %d checks in answer to one, want 1", controlling, n)
			}
			select {
			case a := <-told:
				if a != testRemote {
					t.Errorf("source %s, want %s", a, testRemote)
				}
			default:
				t.Error("the source was not told")
			}
		})
	}
}

func TestHandleRefusesAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := outgoing{make(chan stun.Message, 1000)}
		u := NewUnderlay(UnderlayConfig{Socket: out, Port: testLocal.Port(), Allow: func(a netip.Addr) bool { return a != testRemote.Addr() }})
		u.SetAddresses([]netip.Addr{testLocal.Addr()})
		g, err := newGeneration(u, func() {}, func(_ *Relay, a netip.AddrPort) { t.Errorf("%s was told as a source", a) }, noTunnel{}.Heard)
		if err != nil {
			t.Fatal(err)
		}
		defer g.close()
		if err := g.start(description{Ufrag: "theirs", Pwd: testPwd}, true, time.Now()); err != nil {
			t.Fatal(err)
		}
		u.Handle(checkFrom(g, ice.Controlled), testLocal.Addr(), testRemote)
		u.relayed(nil, testRemote, checkFrom(g, ice.Controlled))
		u.Handle(checkFrom(g, ice.Controlled), testLocal.Addr(), netip.MustParseAddrPort("127.0.0.1:5"))
		synctest.Wait()
		if n := out.drain(stun.BindingSuccess); n != 0 {
			t.Errorf("%d answers to addresses that are refused", n)
		}
		if got := u.Drops().Filtered; got != 3 {
			t.Errorf("%d counted, want 3", got)
		}
	})
}

// What comes before the peer's answer waits for it.
func TestEarlyChecksWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := outgoing{make(chan stun.Message, 1000)}
		u := NewUnderlay(UnderlayConfig{Socket: out, Port: testLocal.Port()})
		u.SetAddresses([]netip.Addr{testLocal.Addr()})
		g, err := newGeneration(u, func() {}, func(*Relay, netip.AddrPort) {}, noTunnel{}.Heard)
		if err != nil {
			t.Fatal(err)
		}
		defer g.close()
		u.Handle(checkFrom(g, ice.Controlled), testLocal.Addr(), testRemote)
		time.Sleep(3 * time.Second)
		if n := out.drain(stun.BindingSuccess); n != 0 {
			t.Fatalf("%d answers before the session began", n)
		}
		if err := g.start(description{Ufrag: "theirs", Pwd: testPwd}, true, time.Now()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := out.drain(stun.BindingSuccess); n != 1 {
			t.Errorf("%d answers, want 1", n)
		}
	})
}

func TestAgentOpensNothing(t *testing.T) {
	u := NewUnderlay(UnderlayConfig{Socket: outgoing{}, Port: 1})
	g, err := newGeneration(u, func() {}, func(*Relay, netip.AddrPort) {}, noTunnel{}.Heard)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	if cs, err := g.agent.GetLocalCandidates(); err != nil || len(cs) != 0 {
		t.Errorf("candidates %v, %v, want none", cs, err)
	}
	if got := g.state(time.Now()); got != "new" {
		t.Errorf("state %s, want new", got)
	}
}

// An address that the machine has for itself is checked from, and told to nobody.
func TestOwnUseIsNotTold(t *testing.T) {
	u := NewUnderlay(UnderlayConfig{Socket: outgoing{make(chan stun.Message, 1)}, Port: 1})
	own := netip.MustParseAddr("192.0.0.2")
	u.SetAddresses([]netip.Addr{own, testLocal.Addr()})
	g, err := newGeneration(u, func() {}, func(*Relay, netip.AddrPort) {}, noTunnel{}.Heard)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	if !g.hosts[netip.AddrPortFrom(own, 1)] || len(g.hosts) != 2 {
		t.Errorf("checked from %v, want %v among two", g.hosts, own)
	}
	if lines := g.describe().Candidates; len(lines) != 1 || strings.Contains(lines[0], own.String()) {
		t.Errorf("told %q, want %v alone", lines, testLocal.Addr())
	}
}
