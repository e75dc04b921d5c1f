package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// revoking is a member that is thrown out while the crash comes.
type revoking struct {
	member *membership // nil: nobody
	done   chan struct{}
	err    error // of the command; after done
}

// beginRevoke has the keeper throw a member of old out.
func (w *world) beginRevoke() error {
	w.revoking = revoking{}
	if len(w.members) < 3 {
		return nil
	}
	i := w.rand.IntN(len(w.members))
	r := &w.revoking
	r.member, r.done = w.members[i], make(chan struct{})
	w.members = slices.Delete(w.members, i, i+1)
	after := time.Duration(w.rand.Int64N(int64(longestWork / 3)))
	go func() {
		defer close(r.done)
		w.pause(after)
		_, r.err = w.keeperNode.Run(w.ctx, "revoke", r.member.node.Name)
	}()
	return nil
}

// finishRevoke: what the keeper said it did is done; what it did not come to say
// the user does again.
func (w *world) finishRevoke() error {
	r := &w.revoking
	if r.member == nil {
		return nil
	}
	<-r.done
	if r.err != nil {
		w.reached["revoked again"]++
		_, err := w.keeperNode.Run(w.ctx, "revoke", r.member.node.Name)
		if err != nil && !strings.Contains(err.Error(), "no member has the name") {
			return err
		}
	} else if out, err := w.keeperNode.Run(w.ctx, "revoke", r.member.node.Name); err == nil {
		return fmt.Errorf("%s was a member again: %s", r.member.node.Name, out)
	}
	w.revoked = append(w.revoked, r.member)
	return nil
}

// checkRevoked: who was thrown out in any round stays out, and is told so.
func (w *world) checkRevoked() error {
	if len(w.revoked) == 0 {
		return nil
	}
	if err := w.keeperOnline(); err != nil {
		return err
	}
	m := w.revoked[w.rand.IntN(len(w.revoked))]
	ctx, cancel := context.WithTimeout(w.ctx, longestWait)
	defer cancel()
	p, err := m.node.StartUp(ctx)
	if err != nil {
		return err
	}
	if code := exitCode(p.Wait()); code != 1 || !strings.Contains(p.Text(), "an admin has removed this machine") {
		return fmt.Errorf("%s is thrown out, and ended with exit code %d:\n%s", m.node.Name, code, p.Text())
	}
	return nil
}
