package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/tunnel"
)

// The node takes commands over HTTP on a Unix socket that only its owner may
// open. A failure is a JSON controlError with status 400.
type controlError struct {
	Text string `json:"error"`
	Help string `json:"hint,omitempty"`

	Ending bool `json:"ending,omitempty"` // the node is about to end by itself
}

func (e *controlError) Error() string { return e.Text }
func (e *controlError) Hint() string  { return e.Help }

// servedNode is what commands ask of a *tunnel.Node, safe for concurrent use.
type servedNode interface {
	Status(context.Context) (*tunnel.Status, error)
	StatusOf(ctx context.Context, peer string) (*tunnel.Status, error)
	Nodes(context.Context) ([]tunnel.NodeInfo, error)
	Surroundings(context.Context) (*tunnel.Surroundings, error)
	servedAdmin
	Ping(ctx context.Context, name string, count int, interval time.Duration, reply func(tunnel.Pong)) error
}

// control serves commands to a node.
type control struct {
	node servedNode
	stop func() // begins the end of the node

	ended chan struct{} // closed by finish
	err   error         // valid once ended is closed

	mu      sync.Mutex // guards what follows: commands come at any time
	forget  bool       // somebody wants the network forgotten
	decided bool       // too late to want it
}

func newControl(node servedNode, stop func()) *control {
	return &control{node: node, stop: stop, ended: make(chan struct{})}
}

// decide says whether the network is to be forgotten. Who asks for that
// afterwards is refused.
func (c *control) decide() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decided = true
	return c.forget
}

// finish answers those who wait for the end of the node: it is over, and err
// is what went wrong, or nil. It is called once.
func (c *control) finish(err error) {
	c.err = err
	close(c.ended)
}

// handleProfiles serves those who look for a fault, or for what takes the time:
// goroutines, heap, processor.
func handleProfiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
}

// lastAnswers is how long the answers may take when all is over.
const lastAnswers = time.Second

// serve answers on l until l is closed, then waits for the answers under way;
// those but to `down` and `leave` are cut short when ctx ends.
func (c *control) serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", c.status)
	mux.HandleFunc("GET /nodes", func(w http.ResponseWriter, r *http.Request) { answer(w)(c.node.Nodes(r.Context())) })
	mux.HandleFunc("GET /surroundings", func(w http.ResponseWriter, r *http.Request) {
		answer(w)(c.node.Surroundings(r.Context()))
	})
	handleProfiles(mux)
	handleAdmin(mux, c.node)
	mux.HandleFunc("POST /ping", c.ping)
	mux.HandleFunc("POST /down", func(w http.ResponseWriter, _ *http.Request) { answer(w)(nil, c.end(false)) })
	mux.HandleFunc("POST /leave", func(w http.ResponseWriter, _ *http.Request) { answer(w)(nil, c.end(true)) })
	s := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	if err := s.Serve(l); !errors.Is(err, net.ErrClosed) {
		s.Close()
		return fmt.Errorf("control socket: %w", err)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
	defer cancel()
	if s.Shutdown(last) != nil {
		s.Close()
	}
	return nil
}

// status answers for all peers, or, with `node`, in detail for one.
func (c *control) status(w http.ResponseWriter, r *http.Request) {
	if name := r.FormValue("node"); name != "" {
		answer(w)(c.node.StatusOf(r.Context(), name))
		return
	}
	answer(w)(c.node.Status(r.Context()))
}

// end stops the node and returns when all is undone.
func (c *control) end(forget bool) error {
	c.mu.Lock()
	late := forget && c.decided
	c.forget = c.forget || forget
	c.mu.Unlock()
	c.stop()
	<-c.ended
	if late {
		return config.WithHint(errors.New("the node was going down already"), "try again")
	}
	return c.err
}

// answer returns a writer of a result or of its error.
func answer(w http.ResponseWriter) func(any, error) {
	return func(v any, err error) {
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			v = &controlError{err.Error(), config.HintOf(err), errors.Is(err, tunnel.ErrEnding)}
		}
		json.NewEncoder(w).Encode(v)
	}
}

// ping streams one JSON object per reply.
func (c *control) ping(w http.ResponseWriter, r *http.Request) {
	count, err := strconv.Atoi(r.FormValue("count"))
	if err != nil {
		answer(w)(nil, err)
		return
	}
	interval, err := time.ParseDuration(r.FormValue("interval"))
	if err != nil {
		answer(w)(nil, err)
		return
	}
	out, sent := http.NewResponseController(w), false
	err = c.node.Ping(r.Context(), r.FormValue("name"), count, interval, func(p tunnel.Pong) {
		sent = true
		json.NewEncoder(w).Encode(p)
		out.Flush()
	})
	switch {
	case err != nil && sent:
		panic(http.ErrAbortHandler) // breaks off the answer, so that it does not look whole
	case err != nil:
		answer(w)(nil, err)
	}
}
