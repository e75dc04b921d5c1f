package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/tunnel"
)

// beginJoin has a machine join with an open invite.
func (w *world) beginJoin() error {
	if len(w.open) == 0 {
		token, err := w.keeperNode.Run(w.ctx, "invite")
		if err != nil {
			return err
		}
		w.open = append(w.open, token)
	}
	w.nextJoiner()
	return w.joiner.start()
}

// nextJoiner makes a new machine, which takes the oldest open invite.
func (w *world) nextJoiner() {
	w.joins++
	node := &Node{Name: fmt.Sprintf("m%d", w.joins), Host: w.joiner.host, rig: w.joiner.rig}
	w.joining = &membership{node: node, invite: w.open[0]}
	w.open = w.open[1:]
}

// noteReached counts how far the joiner has come.
func (w *world) noteReached() {
	said := w.joiner.process.Text()
	for stage, line := range map[string]string{"asked": "joining network", "admitted": "admitted to home", "up": w.joiner.ready} {
		if strings.Contains(said, line) {
			w.reached[stage]++
		}
	}
}

// finishJoin: whoever crashed, the machine comes in with the keys it has shown,
// which its own name tells; the keeper gives the name of another to nobody.
func (w *world) finishJoin() error {
	m := w.joining
	if err := w.await(w.joiner); err != nil {
		return err
	}
	s, err := m.node.Status(w.ctx)
	if err != nil {
		return err
	}
	if s.Self.Name != m.node.Name {
		return fmt.Errorf("%s came in as %s: its first admission is lost", m.node.Name, s.Self.Name)
	}
	m.id, m.addr = s.Self.ID, s.Self.Addresses[0]
	w.members = append(w.members, m)
	return w.connects()
}

// connects sees that the joiner's machine reaches the keeper, and stops it.
func (w *world) connects() error {
	ctx, cancel := context.WithTimeout(w.ctx, longestWait)
	defer cancel()
	if err := w.joining.node.FirstPing(ctx, address(0)); err != nil {
		return err
	}
	return w.joiner.stop()
}

// checkMembers: for the keeper they are all that came in, and nobody else.
func (w *world) checkMembers() error {
	out, err := w.keeperNode.Run(w.ctx, "nodes", "--json")
	if err != nil {
		return err
	}
	var nodes []tunnel.NodeInfo
	if err := json.Unmarshal([]byte(out), &nodes); err != nil {
		return err
	}
	type identity struct {
		id   string
		addr netip.Addr
	}
	got := map[string]identity{}
	for _, n := range nodes {
		if !n.Self {
			got[n.Name] = identity{n.ID, n.Addresses[0]}
		}
	}
	for _, m := range w.members {
		if want := (identity{m.id, m.addr}); got[m.node.Name] != want {
			return fmt.Errorf("%s is %v, want %v", m.node.Name, got[m.node.Name], want)
		}
		delete(got, m.node.Name)
	}
	if len(got) > 0 {
		return fmt.Errorf("nobody admitted %v", got)
	}
	return nil
}

// checkUsed: another machine does not get in with the invite of this round.
func (w *world) checkUsed() error {
	w.joins++
	other := &Node{Name: fmt.Sprintf("x%d", w.joins), Host: w.joiner.host, rig: w.joiner.rig}
	p, err := other.StartUp(w.ctx, w.joining.invite)
	if err != nil {
		return err
	}
	if code := exitCode(p.Wait()); code != 1 || !strings.Contains(p.Text(), "the invite has been used") {
		return fmt.Errorf("exit code %d:\n%s", code, p.Text())
	}
	return nil
}

// checkOpen: an invite that was printed before the crash is good after it.
func (w *world) checkOpen() error {
	if len(w.open) == 0 {
		return nil // none was
	}
	w.reached["open"]++
	if err := w.keeperOnline(); err != nil {
		return err
	}
	slices.Reverse(w.open) // the newest may have been printed just before
	w.nextJoiner()
	slices.Reverse(w.open)
	if err := w.joiner.start(); err != nil {
		return err
	}
	return w.finishJoin()
}

// keeperOnline waits until the keeper can answer a joiner.
func (w *world) keeperOnline() error {
	for {
		s, err := w.keeperNode.Status(w.ctx)
		if err == nil && s.Hub.Connected || w.ctx.Err() != nil {
			return w.ctx.Err()
		}
	}
}

// checkOldMember: a machine that joined in any round is still a member, by its
// own state.
func (w *world) checkOldMember() error {
	m := w.members[w.rand.IntN(len(w.members))]
	again := *m
	again.invite = ""
	w.joining = &again
	p, err := m.node.StartUp(w.ctx)
	if err != nil {
		return err
	}
	w.joiner.process = p
	if err := w.await(w.joiner); err != nil {
		return err
	}
	s, err := m.node.Status(w.ctx)
	if err != nil {
		return err
	}
	if s.Self.Name != m.node.Name || s.Self.ID != m.id {
		return fmt.Errorf("%s is now %s %s", m.node.Name, s.Self.Name, s.Self.ID)
	}
	return w.connects()
}

// maxRoundInvites keeps a long test below what one keeper keeps.
const maxRoundInvites = 4

// inviting makes invites until it is told to end.
type inviting struct {
	stop    context.CancelFunc
	done    sync.WaitGroup
	printed []string // after end
	err     error
}

// beginInvites has the keeper make invites now and then.
func (w *world) beginInvites() error {
	ctx, cancel := context.WithCancel(w.ctx)
	i := &w.invites
	*i = inviting{stop: cancel}
	r := rand.New(rand.NewPCG(w.rand.Uint64(), 0))
	i.done.Go(func() {
		for range maxRoundInvites {
			token, err := w.keeperNode.Run(w.ctx, "invite")
			if err != nil {
				i.err = err
				return
			}
			i.printed = append(i.printed, token)
			select {
			case <-time.After(time.Duration(r.Int64N(int64(longestWork / 2)))):
			case <-ctx.Done():
				return
			}
		}
	})
	return nil
}

// end returns when nothing is printed any more.
func (i *inviting) end() error {
	i.stop()
	i.done.Wait()
	return i.err
}
