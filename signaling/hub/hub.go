package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"golang.org/x/sync/errgroup"
)

// Config is what an operator may choose. The zero value serves on the default
// ports and the machine's public addresses.
type Config struct {
	Listen            string       // TCP address of signaling; "" is ":443"
	TURNListen        string       // UDP address of STUN and TURN; "" is ":3478"
	PublicAddrs       []netip.Addr // where members reach the hub; none: the machine's public addresses
	AltAddrs          []netip.Addr // a second address of this machine for STUN alone (RFC 5780), one of each family at most
	State             string       // directory; "" is config.DefaultHubState
	TLSCert, TLSKey   string       // PEM files of a certificate for names; both or neither
	PlainHTTP         bool         // without TLS: a proxy in front has it, or a lab needs none
	URLs              []string     // what members dial, up to config.MaxHubURLs; none: from the certificate's names and PublicAddrs
	AllowPrivatePeers bool         // relay to RFC 1918, ULA and CGNAT addresses; implied by a private PublicAddrs
	Log               *slog.Logger // nil is slog.Default()

	// Relays are TURN servers besides, that members are told of with credentials:
	// config.MaxRelays at most.
	Relays []config.Relay

	// RelayRate is how much the relay carries for one member at most, in bytes
	// per second, both ways and all of its allocations together, so that no
	// member can take the hub's line from the others. After a pause it may send
	// a second's worth at once. 0 is DefaultRelayRate, less than 0 no limit.
	RelayRate int64
}

// Hub is a hub with its ports open. Its methods are safe for concurrent use.
type Hub struct {
	log      *slog.Logger
	identity config.HubPrivateKey
	timing   timing

	linkMu sync.Mutex // guards link, whose access key may be rotated at any time
	link   config.HubLink

	state       *state
	store       Store
	bus         Bus
	rosters     *rosters
	listener    *switchboard
	relay       *relay
	stun        *stunPorts
	credentials *credentials
	admitted    *admitted
	strangers   *strangers
	gate        *gate
	conns       registry
	drops       drops
}

// timing is how long a connection may take for what, see defaultTiming.
type timing struct {
	request time.Duration // a TLS handshake, then the request and its answer
	hello   time.Duration // from the upgrade to a valid hello
	write   time.Duration // one frame into the socket
	ping    time.Duration // between the hub's pings
	dead    time.Duration // without a byte from the node
}

var defaultTiming = timing{request: 5 * time.Second, hello: 10 * time.Second, write: 10 * time.Second, ping: 25 * time.Second, dead: 60 * time.Second}

// New opens the state, which it makes at first start, and the ports. What it
// opened is closed by Run, or by New itself if it fails. An error that the
// operator can do something about carries a hint, see config.HintOf.
func New(cfg Config) (*Hub, error) {
	cfg.setDefaults()
	if err := cfg.checkURLs(); err != nil {
		return nil, err
	}
	certs, err := newCertificates(cfg.TLSCert, cfg.TLSKey, cfg.Log)
	if err != nil {
		return nil, err
	}
	machine, err := machineAddrs()
	if err != nil {
		return nil, err
	}
	public, err := publicAddrs(cfg.PublicAddrs, cfg.Listen, machine)
	if err != nil {
		return nil, err
	}
	if len(cfg.PublicAddrs) == 0 {
		public = withoutAlternates(public, cfg.AltAddrs)
	}
	st, err := openState(cfg.State)
	if err != nil {
		return nil, err
	}
	h := &Hub{
		log: cfg.Log, identity: st.identity, timing: defaultTiming,
		state: st, store: st.store, bus: newLocalBus(), rosters: newRosters(st.store),
		admitted:  newAdmitted(cfg.AllowPrivatePeers || privateGiven(cfg.PublicAddrs)),
		strangers: newStrangers(strangerRate, strangerBurst),
	}
	h.credentials = newCredentials(newRelayKey(st.relay), h.rosters.vouches)
	h.gate = newGate(&h.drops)
	if err := h.open(cfg, certs, public, machine); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (cfg *Config) setDefaults() {
	if cfg.Listen == "" {
		cfg.Listen = ":443"
	}
	if cfg.TURNListen == "" {
		cfg.TURNListen = ":3478"
	}
	if cfg.State == "" {
		cfg.State = config.DefaultHubState
	}
	switch {
	case cfg.RelayRate == 0:
		cfg.RelayRate = DefaultRelayRate
	case cfg.RelayRate < 0:
		cfg.RelayRate = math.MaxInt64
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
}

// open takes the ports and writes the link, which names one of them.
func (h *Hub) open(cfg Config, certs *certificates, public []netip.Addr, machine addrSet) (err error) {
	if cfg.PlainHTTP {
		certs = nil
	} else if certs.own, err = signaling.HubCertificate(h.identity, h.state.tls); err != nil {
		return err
	}
	if err := h.listen(cfg.Listen, certs); err != nil {
		return err
	}
	if h.relay, err = newRelay(relayConfig{
		rate: cfg.RelayRate, listen: cfg.TURNListen, public: public, machine: machine, log: h.log,
		credentials: h.credentials, admitted: h.admitted, drops: &h.drops,
	}); err != nil {
		return err
	}
	h.stun = &stunPorts{log: h.log}
	if err := h.stun.open(h.relay, cfg.AltAddrs); err != nil {
		return err
	}
	h.credentials.servers, h.credentials.stun = h.relay.servers(), h.stun.servers
	h.credentials.relays = cfg.Relays
	h.link.Key, h.link.Access = h.identity.Public(), h.state.access
	h.link.URLs = linkURLs(cfg, certs.names(), public, h.Addr().Port())
	return writeLink(cfg.State, h.link)
}

// Addr is where signaling listens.
func (h *Hub) Addr() netip.AddrPort { return addrPort(h.listener.Addr()) }

// TURNAddr is where the first of the STUN and TURN listeners is.
func (h *Hub) TURNAddr() netip.AddrPort { return h.relay.addr() }

// Run serves until ctx ends, then returns nil; it returns earlier with an
// error if a listener breaks. In either case all is closed, and every
// connection and relay has ended. Run may be called once.
func (h *Hub) Run(ctx context.Context) error {
	defer h.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler: h.handler(ctx),
		// For all that a stranger may draw out: the TLS handshake, headers, a
		// body that nobody wants, reading the answer.
		ReadTimeout:    h.timing.request,
		WriteTimeout:   h.timing.request,
		MaxHeaderBytes: 12 << 10, // a hello may be among them
		ErrorLog:       slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
	}
	server.SetKeepAlivesEnabled(false) // one upgrade is all that a node asks for
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(h.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("signaling: %w", err)
		}
		return nil
	})
	g.Go(func() error { return h.listener.run(ctx) })
	g.Go(func() error { return h.relay.run(ctx) })
	g.Go(func() error { h.stun.run(); return nil })
	g.Go(func() error {
		h.housekeep(ctx)
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		h.stun.close()
		return server.Close()
	})
	err := g.Wait()
	cancel()
	h.conns.closeAndWait()
	h.relay.pumps.Wait() // no stream allocates any more
	h.relay.logUsage(h.log)
	h.drops.log(h.log)
	return err
}

// housekeep forgets what has expired, and looks again at the machine's
// addresses.
func (h *Hub) housekeep(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			h.strangers.prune(now)
			h.relay.strangers.prune(now)
			h.relay.known.prune(now)
			h.credentials.prune(now, h.relay.inUse)
			h.relay.prune()
			h.gate.sources.prune(now)
			h.relay.countUnread()
			h.drops.report(h.log)
			if machine, err := machineAddrs(); err == nil {
				h.relay.setMachine(machine)
			}
		}
	}
}

// close is idempotent; it also closes a hub that New did not finish.
func (h *Hub) close() {
	if h.listener != nil {
		h.listener.Close()
	}
	if h.relay != nil {
		h.relay.close()
	}
	if h.stun != nil {
		h.stun.close()
	}
	h.state.close()
}

// registry holds the connections to wait for at the end.
type registry struct {
	mu     sync.Mutex // guards closed, and wg.Add against Wait
	closed bool
	wg     sync.WaitGroup
}

// start runs f in a goroutine, unless the hub is closing.
func (r *registry) start(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.wg.Go(f)
	return true
}

func (r *registry) closeAndWait() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wg.Wait()
}
