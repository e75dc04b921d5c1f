package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// TestLostAck: the keeper dies when it has answered a joiner and not yet heard
// that the answer came. The joiner is a member all the same, for the keeper and
// the hub as well.
func TestLostAck(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("public", "a"))
	// The acknowledgement takes so long that it cannot come before the kill.
	b := s.rig.Node(natlab.Must(s.rig.Lab.PublicHost("b", natlab.Through(natlab.Link{Delay: 300 * time.Millisecond}))))
	invite := s.create(a)
	if _, err := a.Run(s.ctx, "down"); err != nil {
		t.Fatal(err)
	}
	keeper, err := a.StartUp(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	joiner, err := b.StartUp(s.ctx, invite)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := joiner.Expect(s.ctx, "admitted to home by a as b"); err != nil {
		t.Fatal(err)
	}
	keeper.Signal(os.Kill)
	keeper.Wait()
	if _, err := a.Up(s.ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.FirstPing(s.ctx, address(0)); err != nil {
		t.Error(err)
	}
}
