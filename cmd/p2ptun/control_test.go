package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/tunnel"
)

// fakeNode answers what the test says. Its Ping blocks after the replies until
// the context ends, if it is to.
type fakeNode struct {
	err    error
	pongs  []tunnel.Pong
	blocks bool

	offline bool // not connected to the hub

	around *tunnel.Surroundings

	asked []any // what came with the commands for admins
}

func (n *fakeNode) Status(context.Context) (*tunnel.Status, error) {
	return &tunnel.Status{
		Self: tunnel.SelfStatus{Name: "laptop", State: "up"}, Network: tunnel.NetworkStatus{Name: "home"},
		Hub: tunnel.HubStatus{Connected: !n.offline},
	}, n.err
}

func (n *fakeNode) StatusOf(ctx context.Context, name string) (*tunnel.Status, error) {
	s, err := n.Status(ctx)
	if name != "box" {
		return s, err
	}
	s.Peers = []tunnel.PeerStatus{
		{Name: "other", State: "connected", Path: "direct"},
		{Name: name, State: "connected", Path: "direct", Pairs: []tunnel.PairStatus{{State: "succeeded", Chosen: true}}, Events: []tunnel.EventStatus{{Text: "handshake"}}},
	}
	return s, err
}

func (n *fakeNode) Nodes(context.Context) ([]tunnel.NodeInfo, error) {
	over := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return []tunnel.NodeInfo{
		{Name: "laptop", ID: "abc", Self: true, Admin: true, Tags: []string{"a", "b"}},
		{Name: "server", ID: "def", Online: true, Expires: &over},
	}, n.err
}

func (n *fakeNode) Surroundings(context.Context) (*tunnel.Surroundings, error) {
	return n.around, n.err
}

func (n *fakeNode) Ping(ctx context.Context, _ string, _ int, _ time.Duration, reply func(tunnel.Pong)) error {
	for _, p := range n.pongs {
		reply(p)
	}
	if n.blocks {
		<-ctx.Done()
		return ctx.Err()
	}
	return n.err
}

// served is a fake node behind a control socket.
type served struct {
	*control
	socket   string
	stopped  context.Context // ends when a command stops the node
	listener net.Listener
	done     chan error // of serve
}

func serve(t *testing.T, node servedNode) *served {
	t.Helper()
	checkLeaks(t)
	s := &served{socket: filepath.Join(t.TempDir(), "p2ptun.sock"), done: make(chan error, 1)}
	var err error
	if s.listener, err = listenControl(s.socket); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	s.stopped, s.control = ctx, newControl(node, stop)
	go func() { s.done <- s.control.serve(ctx, s.listener) }()
	t.Cleanup(func() {
		stop()
		s.listener.Close()
		select {
		case <-s.ended:
		default:
			s.finish(nil)
		}
		if err := <-s.done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// checkLeaks fails the test if it ends with more goroutines than it has now.
func checkLeaks(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
			if time.Now().After(end) {
				stacks := make([]byte, 1<<20)
				t.Fatalf("goroutines leak:\n%s", stacks[:runtime.Stack(stacks, true)])
			}
		}
	})
}

// command runs a command against the fake node.
func (s *served) command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	e, out, errs := capture(t)
	code = run(e, append(args, "--socket", s.socket))
	return code, out.String(), errs.String()
}

func TestCommandsAskTheNode(t *testing.T) {
	lost, got := tunnel.Pong{Name: "server", Sequence: 1, Lost: true}, tunnel.Pong{Name: "server", Sequence: 2, RTT: 1.5, Path: "direct"}
	refusal := config.WithHint(errors.New("no"), "ask the other machine")
	refused := "p2ptun: error: no\np2ptun: hint: ask the other machine\n"
	for _, tt := range []struct {
		name   string
		node   fakeNode
		args   []string
		code   int
		stdout string // contains
		stderr string
	}{
		{"status", fakeNode{}, []string{"status"}, 0, "laptop in home: up", ""},
		{"status, json", fakeNode{}, []string{"status", "--json"}, 0, `"name": "laptop"`, ""},
		{"status, refused", fakeNode{err: refusal}, []string{"status"}, 1, "", refused},
		{"status of itself", fakeNode{}, []string{"status", "laptop"}, 1, "", "p2ptun: error: laptop is this machine, not a peer: `p2ptun status` without a name shows it\n"},
		{"status of nobody", fakeNode{}, []string{"status", "x"}, 1, "", "p2ptun: error: no peer has the name \"x\"\np2ptun: hint: `p2ptun nodes` lists the members\n"},
		{"nodes", fakeNode{}, []string{"nodes"}, 0, "laptop (this machine)  no      yes               a,b   -                            abc\nserver                 yes     no                -     2026-01-02 03:04 UTC (over)  def\n", ""},
		{"nodes, json", fakeNode{}, []string{"nodes", "--json"}, 0, `"name": "server"`, ""},
		{"nodes, refused", fakeNode{err: refusal}, []string{"nodes"}, 1, "", refused},
		{"ping", fakeNode{pongs: []tunnel.Pong{lost, got}}, []string{"ping", "server"}, 0, "seq 2: 1.50 ms, direct via -\n", ""},
		{"ping, json", fakeNode{pongs: []tunnel.Pong{got}}, []string{"ping", "server", "--json"}, 0, `"rtt_ms":1.5`, ""},
		{"ping, all lost", fakeNode{pongs: []tunnel.Pong{lost}}, []string{"ping", "server", "--count", "1"}, 1, "no reply from server",
			"p2ptun: error: server answered none of 1 pings\np2ptun: hint: `p2ptun status server` says how things stand\n"},
		{"ping, refused", fakeNode{err: refusal}, []string{"ping", "server"}, 1, "", refused},
		{"ping, the node stops", fakeNode{err: refusal, pongs: []tunnel.Pong{got}}, []string{"ping", "server"}, 1, "seq 2", "p2ptun: error: the node has stopped\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, &tt.node)
			code, stdout, stderr := s.command(t, tt.args...)
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || tt.stdout == "" && stdout != "" || stderr != tt.stderr {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d, %q, %q", code, stdout, stderr, tt.code, tt.stdout, tt.stderr)
			}
		})
	}
}

// TestDownWaits holds that `down` and `leave` return when all is undone, and
// not before, with what went wrong.
func TestDownWaits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   []string
		forget bool
		err    error
		code   int
		stderr string
	}{
		{"down", []string{"down"}, false, nil, 0, "p2ptun is down; `p2ptun up` brings it back\n"},
		{"leave", []string{"leave"}, true, nil, 0, "this machine has left the network and forgotten its keys\n"},
		{"failed", []string{"down"}, false, errors.New("cannot undo"), 1, "p2ptun: error: cannot undo\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, &fakeNode{})
			type result struct {
				code   int
				stderr string
			}
			returned := make(chan result, 1)
			go func() {
				code, _, stderr := s.command(t, tt.args...)
				returned <- result{code, stderr}
			}()
			<-s.stopped.Done()
			if forget := s.decide(); forget != tt.forget {
				t.Errorf("forget %t, want %t", forget, tt.forget)
			}
			s.listener.Close()
			select {
			case r := <-returned:
				t.Fatalf("returned before the end: %+v", r)
			default:
			}
			s.finish(tt.err)
			if r := <-returned; r.code != tt.code || r.stderr != tt.stderr {
				t.Errorf("got %+v, want %d, %q", r, tt.code, tt.stderr)
			}
		})
	}
}

// TestLeaveTooLate: the node goes down already and will not forget any more.
func TestLeaveTooLate(t *testing.T) {
	s := serve(t, &fakeNode{})
	if s.decide() {
		t.Fatal("nobody has asked yet")
	}
	s.finish(nil)
	code, _, stderr := s.command(t, "leave")
	if want := "p2ptun: error: the node was going down already\np2ptun: hint: try again\n"; code != 1 || stderr != want {
		t.Errorf("exit code %d, stderr %q, want 1, %q", code, stderr, want)
	}
}

// TestStopEndsPing: what goes on is cut short when the node ends.
func TestStopEndsPing(t *testing.T) {
	s := serve(t, &fakeNode{pongs: []tunnel.Pong{{Name: "server"}}, blocks: true})
	body, err := request(t.Context(), s.socket, "POST", "/ping?name=server&count=9&interval=1s", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	s.stop()
	received, err := printPongs(io.Discard, body, false)
	if received != 1 || err == nil || err.Error() != "the node has stopped" {
		t.Errorf("%d replies, %v", received, err)
	}
}

func TestControlRefusesNonsense(t *testing.T) {
	s := serve(t, &fakeNode{})
	for _, tt := range []struct{ method, path, want string }{
		{"POST", "/ping?name=x&count=many&interval=1s", `parsing "many"`},
		{"POST", "/ping?name=x&count=1&interval=long", `invalid duration "long"`},
		{"GET", "/nothing", "is not p2ptun: it answers 404"},
		{"POST", "/status", "is not p2ptun: it answers 405"},
	} {
		err := ask(t.Context(), s.socket, tt.method, tt.path, nil, new(any))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: got %v, want %q", tt.method, tt.path, err, tt.want)
		}
	}
	r, err := http.NewRequest("POST", "http://p2ptun/invite", strings.NewReader("{"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: socketTransport(s.socket)}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("half an object: %s", resp.Status)
	}
}

// A node that ends by itself is waited for, whatever it ends with; another one can
// be started then.
func TestUpWaitsForTheEndOfAnother(t *testing.T) {
	s := serve(t, &fakeNode{err: tunnel.ErrEnding})
	go func() {
		<-s.stopped.Done() // somebody waits
		s.listener.Close()
		s.finish(errors.New("this machine was thrown out"))
	}()
	e, _, errs := capture(t)
	o := &upOptions{}
	o.Socket = s.socket
	if up, err := runningAlready(e, o, tokens{}); up || err != nil {
		t.Errorf("running: %v, %v; said %q", up, err, errs)
	}
	select {
	case <-s.ended:
	default:
		t.Error("up goes on before the other has ended")
	}
}
