package natlab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// A Cmd is an [exec.Cmd] that runs inside a host. It ends with the lab at the
// latest; the caller still has to Wait for it.
type Cmd struct {
	*exec.Cmd
	ns      *namespace
	spawner *spawner
}

// Command returns a command to be started inside the host; the context ends
// it as with [exec.CommandContext]. A child inherits the namespace, so its own
// children are inside as well, and end with the lab even if they left their
// process group or session.
func (h *Host) Command(ctx context.Context, name string, args ...string) *Cmd {
	return &Cmd{exec.CommandContext(ctx, name, args...), h.ns, h.spawner}
}

// Start is like [exec.Cmd.Start]. If this process dies, the kernel kills the
// child.
func (c *Cmd) Start() error {
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return c.spawner.start(c.ns, c.Cmd.Start)
}

// Run is like [exec.Cmd.Run].
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output is like [exec.Cmd.Output], without the error's copy of stderr.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("natlab: Stdout already set")
	}
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput is like [exec.Cmd.CombinedOutput].
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stderr != nil {
		return nil, errors.New("natlab: Stderr already set")
	}
	var out bytes.Buffer
	c.Stderr = &out
	if c.Stdout != nil {
		return nil, errors.New("natlab: Stdout already set")
	}
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// A spawner starts processes, all from one thread that lives as long as the
// lab: the parent-death signal is sent when the starting thread ends, and an
// ordinary thread of the runtime may end at any time.
type spawner struct {
	home     *os.File
	requests chan spawn
	quit     chan struct{}
	done     chan struct{}
}

type spawn struct {
	ns    *namespace
	start func() error
	err   chan<- error
}

func newSpawner(home *os.File) *spawner {
	return &spawner{home: home, requests: make(chan spawn), quit: make(chan struct{}), done: make(chan struct{})}
}

func startSpawner(home *os.File) *spawner {
	s := newSpawner(home)
	go s.run()
	return s
}

func (s *spawner) run() {
	defer close(s.done)
	onThread(s.home, func() error {
		s.serve()
		return nil
	})
}

// serve starts what is asked for, from this thread, until stop.
func (s *spawner) serve() {
	for {
		select {
		case r := <-s.requests:
			err := switchTo(r.ns.file)
			if err == nil {
				err = r.start()
			}
			// It may be the main thread, which /proc/self shows.
			r.err <- errors.Join(err, switchTo(s.home))
		case <-s.quit:
			return
		}
	}
}

// start runs fn, which starts a process, inside the namespace.
func (s *spawner) start(ns *namespace, fn func() error) error {
	result := make(chan error, 1)
	select {
	case s.requests <- spawn{ns, fn, result}:
		return <-result
	case <-s.done:
		return errClosed
	}
}

// stop ends the spawner. Call it once.
func (s *spawner) stop() {
	close(s.quit)
	<-s.done
}
