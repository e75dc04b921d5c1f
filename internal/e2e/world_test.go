package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// world is a hub, the keeper of a network, and a host on which machines join
// one after the other, for tests that crash them.
type world struct {
	t    *testing.T
	ctx  context.Context
	rand *rand.Rand
	ledger

	hub, keeper, joiner *machine
	link                string
	keeperNode          *Node
	joins               int         // machines that began to join
	joining             *membership // of this round
	invites             inviting
	revoking            revoking

	rounds, crashes int
	reached         map[string]int // how far the joiner was when the crash came; open invites tried

	mu  sync.Mutex // guards log
	log []string   // of this round
}

// ledger is what users were told, and rely on.
type ledger struct {
	members []*membership
	open    []string // invites that were printed, and that nobody used
	revoked []*membership
}

// membership is a machine that is in, or on its way.
type membership struct {
	node   *Node
	invite string
	id     string // once it is known
	addr   netip.Addr
}

func newWorld(t *testing.T, power bool, r *rand.Rand) *world {
	t.Helper()
	// The disks first: they are there until every process has ended.
	var disks [3]*powerDisk
	var dirs [3]string
	for i := range disks {
		if !power {
			dirs[i] = t.TempDir()
			continue
		}
		disks[i] = newPowerDisk(t)
		dirs[i] = disks[i].dir()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+time.Duration(*crashRounds)*20*time.Second)
	lab := natlab.Must(natlab.New())
	t.Cleanup(func() {
		cancel()
		lab.Close()
	})
	w := &world{t: t, ctx: ctx, rand: r, reached: map[string]int{}}
	machineAt := func(i int, name, ready string) *machine {
		rig := &Rig{Lab: lab, Bin: binary(t), Dir: dirs[i], Output: w.output}
		return &machine{host: natlab.Must(lab.PublicHost(name)), rig: rig, disk: disks[i], ready: ready}
	}
	w.hub = machineAt(0, "hub", "hub link: ")
	w.hub.begin = func() (*Process, error) {
		return w.hub.rig.start(ctx, w.hub.host, hubArgs(w.hub.rig, w.hub.host)...)
	}
	w.keeper, w.joiner = machineAt(1, "keeper", "p2ptun0 is up"), machineAt(2, "joiner", "p2ptun0 is up")
	w.keeperNode = w.keeper.rig.Node(w.keeper.host)
	w.joiner.begin = func() (*Process, error) { return w.joining.node.StartUp(ctx, w.joining.invite) }
	if err := w.found(); err != nil {
		w.fail("the beginning: %v", err)
	}
	return w
}

// found starts the hub, which may crash at its first start already, and makes
// the network.
func (w *world) found() error {
	if err := w.restart(w.hub); err != nil {
		return err
	}
	args := []string{"--new", "home", "--hub", w.link, "--prefix", prefix.String()}
	w.keeper.begin = func() (*Process, error) { return w.keeperNode.StartUp(w.ctx, args...) }
	if err := w.keeper.start(); err != nil {
		return err
	}
	w.keeper.begin = func() (*Process, error) { return w.keeperNode.StartUp(w.ctx) }
	return w.await(w.keeper)
}

// crash has the victims fall at one instant and rise again.
func (w *world) crash(victims []string) error {
	all := map[string]*machine{"hub": w.hub, "keeper": w.keeper, "joiner": w.joiner}
	for _, name := range victims {
		if err := all[name].fall(); err != nil {
			return err
		}
		w.crashes++
	}
	w.output("round", "crash")
	w.noteReached()
	if err := w.invites.end(); err != nil && !slices.Contains(victims, "keeper") {
		return err
	}
	w.open = append(w.open, w.invites.printed...)
	for _, name := range victims {
		if err := all[name].rise(); err != nil {
			return err
		}
	}
	for _, name := range victims { // the hub first, then the keeper
		if err := w.restart(all[name]); err != nil {
			return err
		}
	}
	return nil
}

// restart starts a machine's process; now and then it crashes on the way.
func (w *world) restart(m *machine) error {
	if err := m.start(); err != nil {
		return err
	}
	if w.rand.IntN(3) == 0 {
		w.pause(time.Duration(w.rand.Int64N(int64(80 * time.Millisecond))))
		w.output("round", "crash of "+m.host.Name()+" while it starts")
		w.crashes++
		if err := errors.Join(m.fall(), m.rise(), m.start()); err != nil {
			return err
		}
	}
	if err := w.await(m); err != nil {
		return err
	}
	if m == w.hub {
		return w.checkLink()
	}
	return nil
}

// longestWait is for what a crash may delay: a pause between two attempts to
// reach the hub lasts 15 s at most.
const longestWait = 30 * time.Second

// await waits until a machine's process does what it is for. A joiner that came
// before the keeper could tell the hub of its invite is sent away; the same line
// works when the keeper is there.
func (w *world) await(m *machine) error {
	ctx, cancel := context.WithTimeout(w.ctx, longestWait)
	defer cancel()
	_, err := m.process.Expect(ctx, m.ready)
	if err != nil && m == w.joiner && strings.Contains(m.process.Text(), "nobody keeps this invite") {
		w.reached["too early"]++
		if err = w.keeperOnline(); err == nil {
			err = m.start()
		}
		if err == nil {
			_, err = m.process.Expect(ctx, m.ready)
		}
	}
	return err
}

func (w *world) checkLink() error {
	line, err := w.hub.process.Expect(w.ctx, w.hub.ready)
	link := strings.TrimPrefix(line, w.hub.ready)
	if err == nil && w.link != "" && w.link != link {
		err = errors.New("the hub has another link, so another identity or access key")
	}
	w.link = link
	return err
}

// pause waits; the time is what the test is about.
func (w *world) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.ctx.Done():
	}
}

func (w *world) output(process, line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, time.Now().Format("05.000 ")+process+": "+line)
}

func (w *world) clearLog() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = nil
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Fatalf("round %d: %s\n%s", w.rounds, fmt.Sprintf(format, args...), strings.Join(w.log, "\n"))
}
