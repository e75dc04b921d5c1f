package peer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/turn/v5"
)

// pipes is a TURN server's listener for streams, which are pipes.
type pipes struct {
	lab    *lab
	conns  chan net.Conn
	closed chan struct{}

	refuse atomic.Bool // all dials fail
	dials  atomic.Int32

	mu   sync.Mutex // guards open
	open []net.Conn
}

// streamTURN makes a TURN server on the hub's machine that is reached by streams, and
// the way there.
func (l *lab) streamTURN(url string, cost time.Duration) (*pipes, *Stream) {
	l.t.Helper()
	p := &pipes{lab: l, conns: make(chan net.Conn), closed: make(chan struct{})}
	s, err := turn.NewServer(turn.ServerConfig{
		Realm: "lab",
		AuthHandler: func(a *turn.RequestAttributes) (string, []byte, bool) {
			return a.Username, turn.GenerateAuthKey(a.Username, a.Realm, "secret"), true
		},
		ListenerConfigs: []turn.ListenerConfig{{Listener: p, RelayAddressGenerator: &generator{&turn.RelayAddressGeneratorStatic{
			RelayAddress: net.ParseIP(hubAddr.Addr().String()), Address: hubAddr.Addr().String(), Net: l.hub,
		}, l}, PermissionHandler: func(net.Addr, net.IP) bool { return true }}},
		LoggerFactory: quiet,
	})
	l.must(err)
	l.stops = append(l.stops, func() { p.cut(); l.must(s.Close()) })
	return p, &Stream{URL: url, Cost: cost, Dial: p.dial}
}

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	p.dials.Add(1)
	time.Sleep(4 * hop)
	if p.refuse.Load() {
		return nil, errors.New("refused")
	}
	near, far := net.Pipe()
	at := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.77"), 30000+uint16(p.dials.Load()))
	select {
	case p.conns <- pipe{far, at}:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open = append(p.open, far)
		return near, nil
	case <-p.closed:
	case <-ctx.Done():
	}
	return nil, net.ErrClosed
}

// cut breaks all streams.
func (p *pipes) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return net.TCPAddrFromAddrPort(hubAddr) }

type pipe struct {
	net.Conn
	from netip.AddrPort
}

func (p pipe) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(p.from) }
func (p pipe) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(hubAddr) }

// withStreams is a node that knows the hub, and ways there by streams.
func (l *lab) withStreams(blocked bool, streams ...*Stream) *node {
	n := port(l)
	n.mute.Store(blocked)
	servers := []Server{{Addr: hubAddr, Username: "u-" + n.name, Password: "secret"}}
	for _, s := range streams {
		servers = append(servers, Server{Stream: s, Username: "u-" + n.name, Password: "secret"})
	}
	n.underlay.SetServers(servers)
	return n
}

// opened are the streams that a node keeps.
func (n *node) opened() (urls []string) {
	for _, s := range n.underlay.allServers() {
		if s.stream != nil && s.open.Load() {
			urls = append(urls, s.stream.URL)
		}
	}
	slices.Sort(urls)
	return urls
}

// A node whose network lets no UDP out reaches its peer over a stream, and leaves it
// when UDP passes; the path is never without an end.
func TestStreamWhereUDPIsBlocked(t *testing.T) {
	inLab(t, func(l *lab) {
		_, tls := l.streamTURN("turns:hub", 50*time.Millisecond)
		cheap, tcp := l.streamTURN("turn:hub?transport=tcp", 0)
		other, _ := l.streamTURN("turns:other", 0)
		a := l.withStreams(true, tls, tcp)
		k := l.pair(a, public(l))
		k.online()
		took := l.until(2*time.Second, "data passes", func() bool {
			k.a.sendData("there")
			k.b.sendData("back")
			return k.b.received("there") && k.a.received("back")
		})
		t.Logf("data passes after %v", took)
		if want := streamsAfter + 500*time.Millisecond; took > want {
			t.Errorf("data passes after %v, want %v", took, want)
		}
		time.Sleep(time.Second)
		if got := a.opened(); !slices.Equal(got, []string{tcp.URL}) || cheap.dials.Load() != 1 || other.dials.Load() != 0 {
			t.Errorf("streams %v are open, want the cheapest that works", got)
		}
		if p, _ := k.a.path(); p.Relay == nil || p.Relay.Server().IsValid() {
			t.Errorf("path %+v, want one over the stream", p)
		}
		if _, ok := mustRelay(k.a).Channel(netip.MustParseAddrPort("203.0.113.9:9")); ok {
			t.Error("a relay over a stream has a channel for the socket")
		}

		a.mute.Store(false)
		took = l.until(3*time.Second, "direct", func() bool {
			k.a.sendData("x")
			k.b.sendData("y")
			pa, _ := k.a.path()
			pb, _ := k.b.path()
			return pa.Relay == nil && pb.Relay == nil
		})
		t.Logf("direct %v after UDP passes", took)
		took = l.until(2*carriedFor, "without streams", func() bool {
			k.a.sendData("x")
			return len(a.opened()) == 0
		})
		t.Logf("without streams %v later", took)
	})
}

func mustRelay(s *side) *Relay {
	p, _ := s.path()
	return p.Relay
}

// Where UDP works no stream is opened, however long that takes.
func TestNoStreamWhereUDPWorks(t *testing.T) {
	inLab(t, func(l *lab) {
		p, tcp := l.streamTURN("turn:hub?transport=tcp", 0)
		n := port(l)
		n.underlay.SetServers(nil)
		time.Sleep(time.Minute) // as at a start, before the hub has told of any
		n.underlay.SetServers([]Server{{Addr: hubAddr, Username: "u", Password: "secret"}, {Stream: tcp, Username: "u", Password: "secret"}})
		n.relay()
		time.Sleep(10 * time.Minute)
		if got := p.dials.Load(); got != 0 {
			t.Errorf("%d streams were opened", got)
		}
		if got := n.underlay.Relays(); len(got) != 1 {
			t.Errorf("relays %+v, want no streams that nobody needs", got)
		}
	})
}

// A stream that breaks is made again; one that is not to be had gives way to another.
func TestStreamBreaks(t *testing.T) {
	inLab(t, func(l *lab) {
		l.keeps.Store(true)
		p, tcp := l.streamTURN("turn:hub?transport=tcp", 0)
		_, tls := l.streamTURN("turns:hub", 50*time.Millisecond)
		a := l.withStreams(true, tcp, tls)
		k := l.pair(a, public(l))
		k.online()
		passes := func(what string) time.Duration {
			return l.until(5*time.Second, what, func() bool {
				k.a.sendData(what)
				k.b.sendData(what)
				return k.b.received(what) && k.a.received(what)
			})
		}
		passes("at first")
		time.Sleep(5 * time.Second)
		p.cut()
		took := passes("after the cut")
		t.Logf("data passes %v after the stream was cut", took)
		if took > time.Second {
			t.Errorf("data passes %v after the stream was cut", took)
		}
		time.Sleep(5 * time.Second)
		l.keeps.Store(false)
		p.refuse.Store(true)
		p.cut()
		took = passes("over another stream")
		t.Logf("data passes %v after the stream's server refused it", took)
		if took > 2*time.Second {
			t.Errorf("data passes %v after the stream's server refused it", took)
		}
	})
}

func TestStreamsToHold(t *testing.T) {
	const ms = time.Millisecond
	way := func(rtt time.Duration) standing { return standing{measure: measure{rtt: rtt}} }
	tests := []struct {
		name   string
		wanted bool
		all    []standing
		want   string // of each: - closed, o open, + held as well
	}{
		{"not wanted", false, []standing{way(10 * ms), {}}, "--"},
		{"not wanted, but in use", false, []standing{{held: true, busy: true}, {held: true}}, "+-"},
		{"all are tried", true, []standing{{}, {}}, "oo"},
		{"the first that answers", true, []standing{{}, way(90 * ms)}, "o+"},
		{"the cheaper", true, []standing{way(30 * ms), way(20 * ms)}, "o+"},
		{"its relay is on its way", true, []standing{{held: true}, way(20 * ms)}, "+o"},
		{"it works", true, []standing{{held: true, allocated: true, measure: measure{rtt: 50 * ms}}, way(20 * ms)}, "+-"},
		{"it fell silent", true, []standing{{held: true, allocated: true, measure: measure{rtt: 50 * ms, silent: true}}, way(20 * ms)}, "++"},
		{"it was refused", true, []standing{{held: true, failed: true, measure: measure{rtt: 50 * ms}}, way(20 * ms)}, "++"},
		{"another has its place", true, []standing{{held: true, allocated: true, measure: measure{rtt: 50 * ms, silent: true}}, {held: true, allocated: true, measure: measure{rtt: 60 * ms}}}, "-+"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var all []*standing
			for i := range tt.all {
				tt.all[i].server = &server{stream: new(Stream)}
				all = append(all, &tt.all[i])
			}
			holdStreams(slices.Clone(all), tt.wanted)
			got := ""
			for _, s := range all {
				switch {
				case s.held && s.open:
					got += "+"
				case s.open:
					got += "o"
				default:
					got += "-"
				}
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestNeedsStreams(t *testing.T) {
	const ms = time.Millisecond
	fresh, old := standing{age: 100 * ms}, standing{age: streamsAfter}
	answers, ready := standing{measure: measure{rtt: ms}}, standing{measure: measure{rtt: ms}, held: true, allocated: true}
	silent, refused := standing{measure: measure{silent: true}}, standing{measure: measure{rtt: ms}, failed: true, held: true}
	tests := []struct {
		name      string
		udp       []standing
		streaming bool
		want      bool
		again     time.Duration
	}{
		{"no servers", nil, false, true, 0},
		{"nothing is known yet", []standing{fresh}, false, false, streamsAfter - 100*ms},
		{"of one of two", []standing{old, fresh}, false, false, streamsAfter - 100*ms},
		{"no answer", []standing{old}, false, true, 0},
		{"silent at once", []standing{silent}, false, true, 0},
		{"one of two answers", []standing{silent, answers}, false, false, 0},
		{"it refuses", []standing{silent, refused}, false, true, 0},
		{"it answers again", []standing{answers}, true, true, 0},
		{"it works again", []standing{silent, ready}, true, false, 0},
	}
	for _, tt := range tests {
		var udp []*standing
		for i := range tt.udp {
			udp = append(udp, &tt.udp[i])
		}
		if got, again := needsStreams(udp, tt.streaming); got != tt.want || again != tt.again {
			t.Errorf("%s: %v, again %v, want %v, %v", tt.name, got, again, tt.want, tt.again)
		}
	}
}
