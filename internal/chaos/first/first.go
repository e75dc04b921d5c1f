package first

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/peer"
)

// What is measured.
const (
	Join = "first join"
	Kill = "kill -9, up"
	Down = "down, up"
	Idle = "idle peer woken"
)

// Cases are all of them, in the table's order.
var Cases = []string{Join, Kill, Down, Idle}

// slack is what each goal allows for what is no way of a packet.
const slack = 150 * time.Millisecond

// Options is what Measure needs.
type Options struct {
	Dir      string // for binaries and state
	LogLevel string // of the nodes; "" is info
	Cases    []string
	Forget   bool                       // an idle peer is woken when the NATs have forgotten it
	Output   func(process, line string) // takes what processes print; nil: nobody
}

// Row is what one case came to.
type Row struct {
	Pair      Pair
	Delay     time.Duration // of each uplink, one way
	Case      string
	Hub, Path time.Duration // round trips, measured in the same lab

	// The first ping answered: of those that the started (or waking) node
	// sends, and of those that the other one does.
	Took [2]time.Duration
	// How long after it both said that the path is the one the pair can have.
	Settled [2]time.Duration
}

// Goal is what Took may be.
func (r Row) Goal() time.Duration {
	if r.Case == Join {
		return 4*r.Hub + 4*r.Path + slack
	}
	return 3*r.Path + slack
}

// Reached says whether the goals are, that of the path after the first ping included.
func (r Row) Reached() bool {
	for i := range r.Took {
		if r.Took[i] > r.Goal() || r.Settled[i] > max(4*r.Path, slack) {
			return false
		}
	}
	return true
}

// Binaries are the programs that are measured.
type Binaries struct {
	usual string
	lazy  string // without neighbours; its tunnels end soon
}

// idleAfter is when lazy's do. A peer is idle after 3 minutes, and home routers have
// forgotten by then how to reach it. Those here do so in forgets; the probes of the
// hub, one each 20 s, keep the way to that alone.
const (
	idleAfter = 3 * time.Second
	forgets   = 22 * time.Second
)

// Build makes them in dir.
func Build(dir string) (b Binaries, err error) {
	var usual, lazy string
	if usual, err = os.MkdirTemp(dir, "usual-"); err != nil {
		return b, err
	}
	if lazy, err = os.MkdirTemp(dir, "lazy-"); err != nil {
		return b, err
	}
	const set = "-X github.com/p2ptun/p2ptun/tunnel."
	if b.usual, err = e2e.Build(usual); err != nil {
		return b, err
	}
	b.lazy, err = e2e.Build(lazy, "-ldflags", fmt.Sprintf(set+"linkedIdleAfter=%v "+set+"linkedNeighbours=0", idleAfter))
	return b, err
}

// Measure runs the cases for one pair at one delay.
func Measure(ctx context.Context, o Options, bins Binaries, p Pair, delay time.Duration) (rows []Row, err error) {
	for _, name := range o.Cases {
		bin := bins.usual
		if name == Idle {
			bin = bins.lazy
		}
		r := Row{Pair: p, Delay: delay, Case: name}
		if err := r.run(ctx, o, bin); err != nil {
			return rows, fmt.Errorf("%s at %v, %s: %w", p.Name, delay, name, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (r *Row) run(ctx context.Context, o Options, bin string) error {
	s, err := newScene(ctx, o, bin, r.Pair, r.Delay)
	if err != nil {
		return err
	}
	defer s.lab.Close()
	if r.Case == Join {
		return r.join(s)
	}
	b, err := s.newcomer("b")
	if err != nil {
		return err
	}
	if _, _, err := r.first(s, b, b, s.a, true); err != nil {
		return err
	}
	if r.Hub, r.Path, err = s.roundTrips(b); err != nil {
		return err
	}
	for i := range r.Took {
		from, to := b, s.a
		if i == 1 {
			from, to = to, from
		}
		if r.Case == Idle {
			if r.Took[i], err = r.wake(s, from, to, o.Forget); err != nil {
				return err
			}
			continue
		}
		if err := s.rest(b); err != nil {
			return err
		}
		if err := s.stop(b, r.Case); err != nil {
			return err
		}
		if r.Took[i], r.Settled[i], err = r.first(s, b, from, to, false); err != nil {
			return err
		}
	}
	return nil
}

// join measures two machines that join: one pings the keeper, the other is
// pinged by it.
func (r *Row) join(s *scene) error {
	for i, name := range []string{"b", "c"} {
		n, err := s.newcomer(name)
		if err != nil {
			return err
		}
		from, to := n, s.a
		if i == 1 {
			from, to = to, from
		}
		if r.Took[i], r.Settled[i], err = r.first(s, n, from, to, true); err != nil {
			return err
		}
		if i == 0 {
			if r.Hub, r.Path, err = s.roundTrips(n); err != nil {
				return err
			}
		}
		if err := s.stop(n, Down); err != nil {
			return err
		}
	}
	return nil
}

// first starts a node and pings from one to the other until an answer comes.
func (r *Row) first(s *scene, started, from, to *actor, joins bool) (took, settled time.Duration, err error) {
	var args []string
	if joins {
		invite, err := s.invite()
		if err != nil {
			return 0, 0, err
		}
		args = append(args, invite)
	}
	p, err := newPinger(from.Host, to.addr)
	if err != nil {
		return 0, 0, err
	}
	defer p.close()
	start := time.Now()
	if started.process, err = started.StartUp(s.ctx, args...); err != nil {
		return 0, 0, err
	}
	at, err := p.until(s.ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w\n%s", from.Name, err, started.process.Text())
	}
	if err := s.settled(s.a, started); err != nil {
		return 0, 0, err
	}
	return at.Sub(start), time.Since(at), nil
}

// wake waits until both are idle, and sends one packet.
func (r *Row) wake(s *scene, from, to *actor, forget bool) (time.Duration, error) {
	if err := errors.Join(s.idle(from, to), s.idle(to, from)); err != nil {
		return 0, err
	}
	if forget {
		if err := s.pause(forgets + time.Second); err != nil {
			return 0, err
		}
	}
	p, err := newPinger(from.Host, to.addr)
	if err != nil {
		return 0, err
	}
	defer p.close()
	took, err := p.one()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", from.Name, err)
	}
	start := time.Now()
	err = s.settled(from, to)
	i := 0
	if from == s.a {
		i = 1
	}
	r.Settled[i] = time.Since(start)
	return took, err
}

// settled waits until both nodes have the path that is possible.
func (s *scene) settled(a, b *actor) error {
	return errors.Join(s.await(a, b, s.hasPath), s.await(b, a, s.hasPath))
}

func (s *scene) hasPath(p *peerStatus) bool {
	return p.State == peer.Connected && p.Path == s.pair.Path
}

// rest waits until the session with a node is one as it is after a while: its
// pair nominated, its keys on disk.
func (s *scene) rest(b *actor) error {
	nominated := func(p *peerStatus) bool { return s.hasPath(p) && p.ICE == "completed" }
	if err := errors.Join(s.await(s.a, b, nominated), s.await(b, s.a, nominated)); err != nil {
		return err
	}
	return s.pause(3 * time.Second)
}

// pause waits; the time is what a user's node has run, or rested, at least.
func (s *scene) pause(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// idle waits until one node has no tunnel to the other.
func (s *scene) idle(of, other *actor) error {
	return s.await(of, other, func(p *peerStatus) bool { return p.State == peer.Idle && p.Online })
}

// stop ends a node's process, by force or as users do.
func (s *scene) stop(n *actor, how string) error {
	sig := syscall.SIGTERM
	if how == Kill {
		sig = syscall.SIGKILL
	}
	if err := n.process.Signal(sig); err != nil {
		return err
	}
	n.process.Wait() // that it was killed is no news
	return nil
}
