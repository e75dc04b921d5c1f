package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
)

// A node whose network lets no UDP out reaches every other over the hub's one port,
// and so do two of them: without a setting, within a second.
func TestNoUDP(t *testing.T) {
	for name, tt := range map[string]struct {
		first, second natlab.Firewall
		place         string // of the second
		only, url     string // the one way, if not all; what is used
	}{
		"no UDP":               {natlab.NoUDP, natlab.Open, "port", "", "turn"},
		"web only, symmetric":  {natlab.WebOnly, natlab.Open, "symmetric", "", "turn"},
		"web only, no UDP":     {natlab.WebOnly, natlab.NoUDP, "port", "", "turn"},
		"web only both, TLS":   {natlab.WebOnly, natlab.WebOnly, "port", "tls", "turns:"},
		"web only both, HTTPS": {natlab.WebOnly, natlab.WebOnly, "port", "websocket", "wss:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			a := s.rig.Node(s.behind(tt.first, "port", "a"))
			b := s.rig.Node(s.behind(tt.second, tt.place, "b"))
			a.Env = []string{"P2PTUN_RELAY_OVER=" + tt.only}
			s.connect(a, b, peer.PathRelayed)
			s.overStream(a, tt.url)
		})
	}
}

// behind makes a host whose router has a firewall as well.
func (s *setup) behind(firewall natlab.Firewall, kind, name string) *natlab.Host {
	behavior := natlab.Must(natlab.Parse(kind))
	behavior.Firewall = firewall
	return natlab.Must(natlab.Must(s.rig.Lab.NAT(name+"-home", behavior)).Host(name))
}

// overStream checks that the node's relay is reached by a stream to a URL that begins
// so: over TCP or TLS, whichever answers first, where it is "turn".
func (s *setup) overStream(n *Node, scheme string) {
	s.t.Helper()
	st, err := n.Status(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range st.Self.Relays {
		if strings.HasPrefix(r.Server, scheme) && r.Address != "" && r.RTT != nil && r.Error == "" {
			return
		}
	}
	s.t.Errorf("%s has the relays %+v, want one by %s", n.Name, st.Self.Relays, scheme)
}

// When UDP passes again the node leaves the stream for a direct path, and no ping is
// lost on the way.
func TestUDPPassesAgain(t *testing.T) {
	s := newSetup(t)
	blocked := natlab.PortRestricted
	blocked.Firewall = natlab.NoUDP
	home := natlab.Must(s.rig.Lab.NAT("a-home", blocked))
	a, b := s.rig.Node(natlab.Must(home.Host("a"))), s.rig.Node(s.place("port", "b"))
	s.connect(a, b, peer.PathRelayed)
	if err := home.SetFirewall(natlab.Open); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	silence, err := a.silence(address(1), func() bool {
		return s.waitPath(a, b, peer.PathDirect, time.Time{}) == nil && s.waitPath(b, a, peer.PathDirect, time.Time{}) == nil ||
			time.Since(start) > 10*time.Second
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.waitPath(a, b, peer.PathDirect, time.Time{}); err != nil {
		t.Error(err)
	}
	t.Logf("direct %v after UDP passes; longest silence %v", time.Since(start).Round(time.Millisecond), silence.Round(time.Millisecond))
	if silence > 250*time.Millisecond {
		t.Errorf("nothing passed for %v", silence)
	}
}

// silence pings until it is told to end, and returns the longest time without an
// answer.
func (n *Node) silence(to netip.Addr, end func() bool) (longest time.Duration, err error) {
	conn, err := n.pinger(to)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	last := time.Now()
	for seq := 0; !end(); seq++ {
		if err := request(conn, to, seq); err != nil {
			return 0, err
		}
		if answered(conn, to, time.Now().Add(50*time.Millisecond)) {
			last = time.Now()
		}
		longest = max(longest, time.Since(last))
	}
	return longest, nil
}

// A stream ends with the address that it was from; another takes its place, at once.
func TestStreamMoves(t *testing.T) {
	s := newSetup(t)
	hostA := s.behind(natlab.NoUDP, "port", "a")
	a, b := s.rig.Node(hostA), s.rig.Node(s.place("port", "b"))
	s.connect(a, b, peer.PathRelayed)
	if err := hostA.Renumber(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	silence, err := a.silence(address(1), func() bool { return time.Since(start) > 8*time.Second })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("longest silence %v", silence.Round(time.Millisecond))
	if silence > 2*time.Second {
		t.Errorf("nothing passed for %v", silence)
	}
}

// connectProxy is an HTTP proxy that connects (RFC 9110 section 9.3.6), for the user
// u with the password p.
func connectProxy(t *testing.T, host *natlab.Host, port uint16) (tunnels *atomic.Int64) {
	t.Helper()
	tunnels = new(atomic.Int64)
	l, err := host.ListenTCP(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
		switch {
		case r.Method != http.MethodConnect:
			http.Error(w, "CONNECT alone", http.StatusMethodNotAllowed)
			return
		case user != "u" || password != "p":
			http.Error(w, "who are you?", http.StatusProxyAuthRequired)
			return
		}
		to, err := host.DialTCP(r.Context(), netip.MustParseAddrPort(r.Host))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		from, early, err := http.NewResponseController(w).Hijack()
		if err != nil {
			to.Close()
			return
		}
		tunnels.Add(1)
		go splice(from, to, to)
		go splice(to, from, early) // which may have the first bytes already
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return tunnels
}

// splice copies what comes from a connection, by a reader of it, to another.
func splice(to, from net.Conn, by io.Reader) {
	io.Copy(to, by)
	to.Close()
	from.Close()
}

// Where all goes through an HTTP proxy the node goes through it: to the hub, and to
// its relay.
func TestHTTPProxy(t *testing.T) {
	s := newSetupFor(t, time.Minute, "debug", "--listen", ":4443") // which the firewall lets nobody reach
	proxy := natlab.Must(s.rig.Lab.PublicHost("proxy"))
	tunnels := connectProxy(t, proxy, 80)
	a, b := s.rig.Node(s.behind(natlab.WebOnly, "port", "a")), s.rig.Node(s.place("port", "b"))
	a.Env = []string{"HTTPS_PROXY=http://u:p@" + proxy.Addr().String() + ":80"}
	s.connect(a, b, peer.PathRelayed)
	s.overStream(a, "turn")
	if tunnels.Load() < 2 {
		t.Errorf("%d connections through the proxy", tunnels.Load())
	}

	c := s.rig.Node(natlab.Must(s.rig.Lab.PublicHost("c")))
	c.Env = []string{"HTTPS_PROXY=http://u:wrong@" + proxy.Addr().String()}
	p, err := c.StartUp(s.ctx, s.must(a, "invite"))
	if err != nil {
		t.Fatal(err)
	}
	line, err := p.Expect(s.ctx, "no connection to the hub")
	if err != nil || !strings.Contains(line, "407 Proxy Authentication Required") || strings.Contains(p.Text(), "wrong") {
		t.Errorf("with a wrong password: %q, %v", p.Text(), err)
	}
}

// Behind a proxy that ends TLS, and passes nothing on but HTTP and WebSockets, the
// relay is reached by a WebSocket.
func TestRelayWebSocket(t *testing.T) {
	s := newSetupFor(t, time.Minute, "debug", "--plain-http", "--listen", ":8080", "--url", "ws://198.51.100.2:80")
	front := natlab.Must(s.rig.Lab.PublicHost("front"))
	if front.Addr().String() != "198.51.100.2" {
		t.Fatalf("the proxy is at %v", front.Addr())
	}
	l, err := front.ListenTCP(netip.AddrPortFrom(netip.IPv4Unspecified(), 80))
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.hubHost.Addr().String() + ":8080"})
	proxy.Transport = &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return front.DialTCP(ctx, netip.MustParseAddrPort(addr))
	}}
	server := &http.Server{Handler: proxy}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	a, b := s.rig.Node(s.behind(natlab.WebOnly, "port", "a")), s.rig.Node(s.behind(natlab.WebOnly, "port", "b"))
	s.connect(a, b, peer.PathRelayed)
	s.overStream(a, "ws:")
	s.overStream(b, "ws:")
}
