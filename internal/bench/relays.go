package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/pion/logging"
	"github.com/pion/turn/v5"
)

// relayServer is a TURN server that runs.
type relayServer struct {
	proc  proc
	addr  netip.AddrPort
	login func(flow int) turnLogin

	profile profiler // nil: it has none
}

// The servers that any login will do for.
const (
	turnUser, turnPassword, turnRealm = "bench", "bench", "bench"

	pionRole = "role:pion"
	coturn   = "turnserver" // the program's name
)

func anyLogin(int) turnLogin { return turnLogin{turnUser, turnPassword} }

// relayContender is a TURN server to measure alone.
type relayContender struct {
	name  string
	skip  string // why it cannot be measured here
	start func(ctx context.Context, s *stage) (*relayServer, error)
}

// relayContenders are those asked for.
func relayContenders(o *options, bins []program) (all []relayContender) {
	all = append(all,
		relayContender{name: "coturn", skip: missingCoturn(), start: func(ctx context.Context, s *stage) (*relayServer, error) {
			return s.startCoturn(ctx, "-m", "1")
		}},
		relayContender{name: "pion", start: startPion})
	for _, b := range bins {
		all = append(all, relayContender{name: b.name + " hub", start: b.startHubAlone})
	}
	return asked(o, all, func(c relayContender) string { return "relay " + c.name })
}

// missingCoturn says why coturn cannot be measured.
func missingCoturn() string {
	if _, err := exec.LookPath(coturn); err != nil {
		return "`turnserver` is not installed"
	}
	return ""
}

// coturnVersion is the installed one's.
func coturnVersion() string {
	out, _ := exec.Command(coturn, "--version").Output()
	return strings.TrimSpace(string(out))
}

// startCoturn runs coturn as it comes, without what it would listen for
// besides.
func (s *stage) startCoturn(ctx context.Context, args ...string) (*relayServer, error) {
	at := s.relay.Addr().String()
	cmd := s.relay.Command(ctx, coturn, append([]string{"-n", "--no-cli", "--no-tls", "--no-dtls", "--log-file", os.DevNull,
		"--pidfile", s.dir + "/turnserver.pid", "--userdb", s.dir + "/turndb", "-L", at, "-E", at, "-p", fmt.Sprint(turnPort),
		"--lt-cred-mech", "--user", turnUser + ":" + turnPassword, "--realm", turnRealm}, args...)...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.running.Go(func() { cmd.Wait() })
	return &relayServer{proc{relayProcess, cmd.Process.Pid}, netip.AddrPortFrom(s.relay.Addr(), turnPort), anyLogin, nil}, nil
}

func startPion(ctx context.Context, s *stage) (*relayServer, error) {
	at := netip.AddrPortFrom(s.relay.Addr(), turnPort)
	pid, err := s.startRole(ctx, s.relay, "", pionRole, at.String())
	return &relayServer{proc{relayProcess, pid}, at, anyLogin, nil}, err
}

// runPion is pion/turn's server with its defaults.
func runPion(at string) error {
	conn, err := net.ListenPacket("udp4", at)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(at)
	if err != nil {
		return err
	}
	server, err := turn.NewServer(turn.ServerConfig{
		Realm:         turnRealm,
		LoggerFactory: &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelError},
		AuthHandler: func(r *turn.RequestAttributes) (string, []byte, bool) {
			return r.Username, turn.GenerateAuthKey(r.Username, turnRealm, turnPassword), true
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            conn,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.ParseIP(host), Address: host},
		}},
	})
	if err != nil {
		return err
	}
	defer server.Close()
	fmt.Println("up")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startHubAlone runs a hub, with a member on a for each flow and one on b:
// that is whom it relays to.
func (b program) startHubAlone(ctx context.Context, s *stage) (*relayServer, error) {
	rig := &e2e.Rig{Lab: s.lab, Bin: b.path, Dir: s.dir}
	hub, err := rig.StartHub(ctx, s.relay, b.hubArgs()...)
	if err != nil {
		return nil, err
	}
	link, err := config.ParseHubLink(hub.Link)
	if err != nil {
		return nil, err
	}
	network := config.NewNetworkKey()
	var logins []turnLogin
	for i := range mostFlows + 1 {
		host := s.a
		if i == mostFlows {
			host = s.b
		}
		m, err := e2e.ConnectMember(ctx, link, network, i+1, dialFrom(host))
		if err != nil {
			return nil, err
		}
		s.closers = append(s.closers, m)
		logins = append(logins, turnLogin{m.Credentials.Username, m.Credentials.Password})
	}
	return &relayServer{
		proc{relayProcess, hub.PID()}, netip.AddrPortFrom(s.relay.Addr(), turnPort),
		func(flow int) turnLogin { return logins[flow] }, hub.Profile,
	}, nil
}

// dialFrom opens TCP connections from a host.
func dialFrom(h *natlab.Host) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		ap, err := netip.ParseAddrPort(addr)
		if err != nil {
			return nil, err
		}
		return h.DialTCP(ctx, ap)
	}
}
