package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/nat64"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/peer/behavior"
	"github.com/p2ptun/p2ptun/signaling"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Config is what a Node needs. Dir, Node, Interface and Log are required.
type Config struct {
	Dir       *config.Dir
	Node      *config.Node // as Dir has it, or about to be stored there
	Interface string       // name of the TUN interface
	Port      uint16       // UDP port; 0: the one kept in Node, else a random one
	RelayOnly bool         // offer and take relayed candidates alone
	NoLAN     bool         // members on one LAN do not look for each other by beacons
	NoGSO     bool         // packets pass the kernel one by one, UDP's and the interface's
	Log       *slog.Logger

	// Relays are used beside the hub's: at most config.MaxRelays.
	Relays []config.Relay

	// Progress, if not nil, is told in one line each what `up` is doing.
	Progress func(line string)
	// Ready, if not nil, is called once: the tunnel is up, and this node's
	// neighbours are connected or have had their chance. Other peers are
	// connected by the first packet to them.
	Ready func()
}

// Node is this machine in one network: it keeps the connection to the hub, the
// list of members, a session with each that something is said to, and the tunnel
// over them.
//
// One goroutine, the loop inside Run, owns all of its state; what callers ask
// for is done there.
type Node struct {
	cfg    Config
	log    *slog.Logger
	self   *signaling.Self
	hub    *signaling.Client
	events chan signaling.Message // from the hub, in order
	calls  chan func()            // into the loop
	ended  chan struct{}          // closed when the loop takes no more calls
	keys   *config.KeyStore
	sealed *datagrams
	passes chan errand                     // into the loop: what mutual peers are to pass on
	nearby chan nearby                     // beacons of members
	soon   chan struct{}                   // holds one signal while there are offers that pollWays may have to send
	moved  atomic.Int64                    // when this machine's network changed last, Unix nanoseconds
	look   chan struct{}                   // holds one signal: see discovery.go
	toIPv4 chan struct{}                   // holds one: see nat64.go
	found  atomic.Pointer[behavior.Report] // of this network; nil: nothing yet
	nat64  nat64.Way                       // to IPv4, where this machine has none

	// Owned by the loop.
	node    *config.Node
	roster  *signaling.Roster
	keeper  *signaling.Keeper
	sync    memberSync
	link    hubLink
	tunnel  *device
	members map[config.NodeKey]*member
	active  map[config.NodeKey]*active
	present map[config.NodeKey]signaling.Epoch // who is at the hub
	running sync.WaitGroup                     // the sessions
	renew   time.Time                          // when to ask for new ones
	ready   readiness
	over    error              // why the loop is to return
	refuse  map[string]int     // what was refused, by kind
	noise   rate.Sometimes     // lets the log tell of some of the hub's refusals
	tickets []signaling.Ticket // as the hub knows them
	trying  bool               // the network's new hub, see followHub
	tryAt   time.Time          // not before
	stepBy  config.NodeKey     // who has confirmed a big step of the time, see clock.go
	stepAt  time.Time
	joins   *rate.Limiter // of join requests that the hub lets through
	hearing *rate.Limiter // of statements that are new to us, from the hub
	lapsed  bool          // this machine's membership has ended, and it was told
	offers  map[*handover]bool
	asking  *rate.Limiter // of mutual peers
	known   knownPeers
	near    int  // peers that were heard lately
	lone    bool // there is no hub
	sought  bool // and progress told that members are looked for without it

	guests     map[config.NodeKey]guest
	byJoin     sync.Map                       // of node keys: what is sealed for them goes as join messages. Not the loop's
	seen       netip.Addr                     // of this machine, by the hub; zero: not known
	hubRelays  []peer.Server                  // what the hub has told
	ways       hubWays                        // to the hub's relay, but for UDP
	ownRelays  []peer.Server                  // what Config.Relays are at present
	named      atomic.Pointer[[]config.Relay] // relays that the hub has named besides its own
	moreRelays []peer.Server                  // what these are
	newDoors   bool                           // the gate does not have the members yet
	seek       time.Time                      // when to look for neighbours again
	hubSTUN    []netip.AddrPort               // where the hub answers Binding requests
	lent       time.Time                      // until when the hub's credentials are good; zero: there are none

	idleAfter  time.Duration // see idle.go
	neighbours int           // see neighbours.go

	gathered string // the candidates that progress last told
	awake    awake
}

// hubLink is how the connection to the hub stands.
type hubLink struct {
	up    bool
	since time.Time // up since
	said  string    // what keeps it down; the first trouble of an outage is told

	joined time.Time // when this machine was admitted, until the hub takes it for a member
}

// New prepares a node; nothing happens before Run.
func New(cfg Config) (*Node, error) {
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	if cfg.Ready == nil {
		cfg.Ready = func() {}
	}
	epoch, err := startEpoch(cfg.Dir, cfg.Node)
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg:     cfg,
		log:     cfg.Log,
		node:    cfg.Node,
		events:  make(chan signaling.Message, 64),
		calls:   make(chan func()),
		ended:   make(chan struct{}),
		members: make(map[config.NodeKey]*member),
		active:  make(map[config.NodeKey]*active),
		present: make(map[config.NodeKey]signaling.Epoch),
		refuse:  make(map[string]int),
		guests:  make(map[config.NodeKey]guest),
		joins:   rate.NewLimiter(5, 50),
		hearing: rate.NewLimiter(500, 100_000),
		noise:   rate.Sometimes{First: 3, Interval: time.Minute},
		offers:  make(map[*handover]bool),
		asking:  rate.NewLimiter(askRate, askBurst),
		passes:  make(chan errand, askBurst),
		nearby:  make(chan nearby, 16),
		soon:    make(chan struct{}, 1),
		look:    make(chan struct{}, 1),
		toIPv4:  make(chan struct{}, 1),

		idleAfter: linkedOr(linkedIdleAfter, time.ParseDuration, idleAfter), neighbours: linkedOr(linkedNeighbours, strconv.Atoi, neighbours),
		self: &signaling.Self{
			Network: cfg.Node.Network.ID(), Node: cfg.Node.Key, Sealing: cfg.Node.Sealing,
			WireGuard: cfg.Node.WireGuard.Public(), Epoch: epoch,
		},
	}
	if err := n.loadMembers(); err != nil {
		return nil, err
	}
	n.loadKnown()
	n.sealed = newDatagrams(n.self, n.node.WireGuard, n.log)
	if n.keys, err = cfg.Dir.OpenKeys(cfg.Log); err != nil {
		n.log.Warn(err.Error())
	}
	return n, nil
}

// startEpoch begins a run: its number is on disk before anybody hears of it.
// The time serves where the count was lost, as with a restored backup.
func startEpoch(dir *config.Dir, node *config.Node) (signaling.Epoch, error) {
	node.Boot = max(node.Boot+1, uint32(time.Now().Unix()))
	return signaling.NewEpoch(node.Boot), dir.SaveNode(node)
}

// Run joins the network if need be, brings the tunnel up and serves it until
// ctx ends; then it undoes everything and returns nil. It returns an error for
// what waiting cannot mend: an invite refused, no right to make the interface.
func (n *Node) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	n.hub = signaling.NewClient(signaling.ClientConfig{
		Hub: n.node.Hub, Network: n.node.Network, Self: n.self, Log: n.log, Dial: n.dialHub,
		Credential: func() signaling.Credential { return n.credential(ctx) },
		Handle: func(m signaling.Message) {
			select {
			case n.events <- m:
			case <-ctx.Done():
			}
		},
	})
	g.Go(func() error { return n.hub.Run(ctx) })
	// The sessions' keys are stored for as long as there are sessions.
	storing, stored := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error { return n.keys.Run(storing) })
	g.Go(func() error {
		defer stored()
		defer close(n.ended)
		if err := n.run(ctx); err != nil {
			return err
		}
		return ctx.Err()
	})
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (n *Node) run(ctx context.Context) error {
	if !n.node.Joined() {
		if err := n.join(ctx); err != nil {
			return err
		}
	}
	if err := n.appeal(ctx); err != nil {
		return err
	}
	if err := n.openKeeper(); err != nil {
		return err
	}
	for {
		if err := n.start(ctx); err != nil {
			return err
		}
		err := n.loop(ctx)
		n.stop()
		if !errors.Is(err, errReaddress) {
			return err
		}
	}
}

// end makes the loop return err, after what it is doing.
func (n *Node) end(err error) {
	if n.over == nil {
		n.over = err
	}
}

// tick is how often the loop looks at WireGuard's counters, and how often
// while a peer is about to connect.
const (
	tick     = time.Second
	fastTick = 20 * time.Millisecond
)

// loop serves the tunnel until ctx ends, or end is called.
func (n *Node) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	n.over = nil
	var widen <-chan time.Time // nil: no offer waits
	for n.over == nil {
		n.setDoors()
		select {
		case <-ctx.Done():
			return nil
		case m := <-n.events:
			n.handle(m)
		case call := <-n.calls:
			call()
		case a := <-n.sealed.arrived:
			n.arrived(a)
		case b := <-n.nearby:
			n.hearBeacon(b)
		case p := <-n.passes:
			n.ask(p)
		case <-n.soon:
			if widen == nil {
				widen = time.After(widenAfter)
			}
		case now := <-widen:
			widen = n.pollWays(now)
		case <-n.tunnel.gate.wanted:
			n.wanted()
		case <-timer.C:
			n.poll(time.Now())
			timer.Reset(n.nextPoll())
		}
	}
	return n.over
}

// ErrEnding is what a node's methods fail with when it has ended, or is about to.
var ErrEnding = errors.New("the node is shutting down")

// do runs f on the loop and waits for it. It fails when the loop is not
// serving: the node is still joining, or has ended.
func (n *Node) do(ctx context.Context, f func() error) error {
	var err error
	done := make(chan struct{})
	select {
	case n.calls <- func() { err = f(); close(done) }:
		<-done
		return err
	case <-n.ended:
		return ErrEnding
	case <-ctx.Done():
		return ctx.Err()
	}
}

// later has the loop run f, for a caller on a member's goroutine: that is not
// kept when the session ends.
func (n *Node) later(ctx context.Context, m *active, f func()) {
	call := func() {
		if n.active[m.record.Node] == m {
			f()
		}
	}
	select {
	case n.calls <- call:
	case <-ctx.Done():
	}
}

// signal leaves word in a channel that holds one signal.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (n *Node) progress(format string, args ...any) {
	n.cfg.Progress(fmt.Sprintf(format, args...))
}
