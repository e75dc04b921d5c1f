package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/tunnel"
)

// Build makes the p2ptun binary in dir and returns its path.
func Build(dir string, flags ...string) (string, error) {
	bin := filepath.Join(dir, "p2ptun")
	args := append(append([]string{"build"}, flags...), "-o", bin)
	cmd := exec.Command("go", append(args, "github.com/p2ptun/p2ptun/cmd/p2ptun")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return bin, nil
}

// Rig is a lab with the binary to run in it. Close ends every process.
type Rig struct {
	Lab *natlab.Lab
	Bin string
	Dir string // for the processes' state

	Nodes []*Node // all that Node made

	LogLevel string // of the nodes; "" is info

	// Output, if not nil, takes each line that a process prints.
	Output func(process, line string)
}

func (r *Rig) logLevel() string {
	if r.LogLevel == "" {
		return "info"
	}
	return r.LogLevel
}

// Hub is a running `p2ptun hub`.
type Hub struct {
	*Process
	Link   string
	socket string
}

// StartHub runs a hub on a host and waits until it serves.
func (r *Rig) StartHub(ctx context.Context, host *natlab.Host, args ...string) (*Hub, error) {
	state := filepath.Join(r.Dir, host.Name())
	args = append([]string{"hub", "--print-link", "--state", state}, args...)
	p, err := r.start(ctx, host, args...)
	if err != nil {
		return nil, err
	}
	line, err := p.Expect(ctx, "hub link: ")
	if err != nil {
		return nil, err
	}
	return &Hub{p, strings.TrimPrefix(line, "hub link: "), filepath.Join(state, "hub.sock")}, nil
}

// Node is a machine that runs, or will run, `p2ptun up`.
type Node struct {
	Name string
	Host *natlab.Host
	Env  []string // what its processes have in their environment besides
	rig  *Rig
}

// Node returns the machine on a host; its name in the network is the host's.
func (r *Rig) Node(host *natlab.Host) *Node {
	n := &Node{Name: host.Name(), Host: host, rig: r}
	r.Nodes = append(r.Nodes, n)
	return n
}

// State is the node's state directory.
func (n *Node) State() string { return filepath.Join(n.rig.Dir, n.Name) }

// Log is what the process that `up` left behind has logged.
func (n *Node) Log() string {
	b, _ := os.ReadFile(n.LogPath())
	return string(b)
}

// LogPath is the file of [Node.Log].
func (n *Node) LogPath() string { return filepath.Join(n.State(), "p2ptun.log") }

func (n *Node) socket() string { return filepath.Join(n.rig.Dir, n.Name+".sock") }

func (n *Node) upArgs(args []string) []string {
	return append([]string{"up", "--state", n.State(), "--socket", n.socket(), "--name", n.Name, "--log-level", n.rig.logLevel()}, args...)
}

// Up runs `p2ptun up`, which returns when the tunnel is up and leaves a
// process behind, and returns what it prints on stdout.
func (n *Node) Up(ctx context.Context, args ...string) (string, error) {
	return n.rig.output(ctx, n, n.upArgs(args))
}

// StartUp runs `p2ptun up --foreground` and returns at once.
func (n *Node) StartUp(ctx context.Context, args ...string) (*Process, error) {
	cmd := n.Host.Command(ctx, n.rig.Bin, append(n.upArgs(args), "--foreground")...)
	cmd.Env = append(os.Environ(), n.Env...)
	return n.rig.run(cmd, n.Name)
}

// Run runs any other command on the node and returns what it prints on
// stdout.
func (n *Node) Run(ctx context.Context, args ...string) (string, error) {
	return n.rig.output(ctx, n, append(args, "--socket", n.socket()))
}

// Status asks the node how it stands.
func (n *Node) Status(ctx context.Context) (*tunnel.Status, error) {
	out, err := n.Run(ctx, "status", "--json")
	if err != nil {
		return nil, err
	}
	s := new(tunnel.Status)
	return s, json.Unmarshal([]byte(out), s)
}

// Peer asks the node how it stands with another.
func (n *Node) Peer(ctx context.Context, other *Node) (*tunnel.PeerStatus, error) {
	s, err := n.Status(ctx)
	if err != nil {
		return nil, err
	}
	return Find(s, n, other)
}

// Look is Peer without a process of its own, for who asks often.
func (n *Node) Look(ctx context.Context, other *Node) (*tunnel.PeerStatus, error) {
	s, err := n.QuickStatus(ctx)
	if err != nil {
		return nil, err
	}
	return Find(s, n, other)
}

// Find is what the node says of another in its status.
func Find(s *tunnel.Status, n, other *Node) (*tunnel.PeerStatus, error) {
	for _, p := range s.Peers {
		if p.Name == other.Name {
			return &p, nil
		}
	}
	return nil, fmt.Errorf("%s does not know %s", n.Name, other.Name)
}

// output runs a command to its end. Its error holds what it said on stderr.
func (r *Rig) output(ctx context.Context, n *Node, args []string) (string, error) {
	cmd := n.Host.Command(ctx, r.Bin, args...)
	cmd.Env = append(os.Environ(), n.Env...)
	var out, errs bytes.Buffer
	cmd.Stdout = &out
	cmd.Stderr = io.MultiWriter(&errs, &lineWriter{n.Name, r.Output})
	if err := cmd.Run(); err != nil {
		return out.String(), &CommandError{args[0], err, errs.String()}
	}
	return strings.TrimSpace(out.String()), nil
}

// CommandError is a command that failed.
type CommandError struct {
	Command string
	Err     error
	Stderr  string
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("p2ptun %s: %v: %s", e.Command, e.Err, e.Stderr)
}
func (e *CommandError) Unwrap() error { return e.Err }

// ExitCode is the command's, or -1.
func (e *CommandError) ExitCode() int {
	var exit *exec.ExitError
	if errors.As(e.Err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// Process is a command that keeps running. Its output is kept.
type Process struct {
	cmd  *natlab.Cmd
	done chan struct{}
	err  error // valid after done

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed at each new line
}

func (r *Rig) start(ctx context.Context, host *natlab.Host, args ...string) (*Process, error) {
	return r.run(host.Command(ctx, r.Bin, args...), host.Name())
}

// run starts a command and keeps what it prints.
func (r *Rig) run(cmd *natlab.Cmd, name string) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{}), more: make(chan struct{})}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = write, write
	err = p.cmd.Start()
	write.Close()
	if err != nil {
		read.Close()
		return nil, err
	}
	go func() {
		defer close(p.done)
		defer read.Close()
		for s := bufio.NewScanner(read); s.Scan(); {
			if r.Output != nil {
				r.Output(name, s.Text())
			}
			p.add(s.Text())
		}
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

func (p *Process) add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
	close(p.more)
	p.more = make(chan struct{})
}

// Expect waits for a line that begins with prefix, or has been printed already.
func (p *Process) Expect(ctx context.Context, prefix string) (string, error) {
	for {
		p.mu.Lock()
		lines, more := p.lines, p.more
		p.mu.Unlock()
		for _, l := range lines {
			if strings.HasPrefix(l, prefix) {
				return l, nil
			}
		}
		select {
		case <-more:
		case <-p.done:
			return "", fmt.Errorf("ended without the line %q: %v\n%s", prefix, p.err, strings.Join(lines, "\n"))
		case <-ctx.Done():
			return "", fmt.Errorf("no line %q: %w\n%s", prefix, ctx.Err(), strings.Join(lines, "\n"))
		}
	}
}

// Text is all that was printed so far.
func (p *Process) Text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// PID is the process's ID, the same in every namespace of a lab.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Wait returns when the process has ended.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// lineWriter hands on what is written line by line.
type lineWriter struct {
	name string
	to   func(process, line string)
}

func (w *lineWriter) Write(p []byte) (int, error) {
	if w.to != nil {
		for line := range strings.Lines(string(p)) {
			w.to(w.name, strings.TrimRight(line, "\n"))
		}
	}
	return len(p), nil
}
