package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/internal/natlab"
)

// prefix is the network of every world: its first node is the first address.
var prefix = netip.MustParsePrefix("10.77.0.0/24")

// lans are those of the lab's homes.
var lans = netip.MustParsePrefix("192.168.0.0/16")

// world is a lab with a hub and nodes. What runs in it ends with close.
type world struct {
	ctx context.Context // of the processes
	lab *natlab.Lab
	rig *e2e.Rig
	dir string

	stepped string // the program with a clock that can be stepped

	hubHost *natlab.Host
	hub     *e2e.Hub
	hubArgs []string

	relayHost *natlab.Host // nil: the hub's relay is the only one
	relay     *e2e.Process // coturn
	nodeArgs  []string     // the relay's URI

	places []*place
}

// place is a machine, and what is between it and the world.
type place struct {
	node   *e2e.Node
	proc   *e2e.Process
	home   *natlab.NAT    // nil in public
	second *natlab.Uplink // nil if there is none
	addr   netip.Addr     // inside the tunnel

	// The link by which others are reached, and what it does undisturbed.
	link    natlab.Link
	setLink func(natlab.Link) error
}

func newWorld(ctx context.Context, o *options) (w *world, err error) {
	w = &world{ctx: ctx, stepped: o.stepped}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = os.MkdirTemp("", "p2ptun-chaos-"); err != nil {
		return w, err
	}
	if w.lab, err = natlab.New(); err != nil {
		return w, err
	}
	w.rig = &e2e.Rig{Lab: w.lab, Bin: o.bin, Dir: w.dir}
	if o.logs != "" {
		w.rig.LogLevel = "debug"
	}
	w.hubHost, err = w.lab.PublicHost("hub", natlab.Through(uplink))
	return w, err
}

// start runs the hub, the relay if there is one, and the nodes, one after the
// other.
func (w *world) start(ctx context.Context) (err error) {
	if err := w.restartHub(); err != nil {
		return err
	}
	if w.relayHost != nil {
		var uri string
		if w.relay, uri, err = w.rig.StartCoturn(w.ctx, w.relayHost); err != nil {
			return err
		}
		w.nodeArgs = []string{"--relay", uri}
	}
	join := []string{"--new", "chaos", "--hub", w.hub.Link, "--prefix", prefix.String()}
	first := w.places[0].node
	for _, p := range w.places {
		if err := w.startNode(p, join...); err != nil {
			return err
		}
		if _, err := p.proc.Expect(ctx, "p2ptun0 is up"); err != nil {
			return err
		}
		if err := poll(ctx, func() bool { st, err := first.QuickStatus(ctx); return err == nil && st.Hub.Connected }); err != nil {
			return err
		}
		invite, err := first.Run(ctx, "invite")
		if err != nil {
			return err
		}
		join = []string{invite}
	}
	return nil
}

// restartHub starts the hub, or starts it again with the same state.
func (w *world) restartHub() (err error) {
	w.hub, err = w.rig.StartHub(w.ctx, w.hubHost, w.hubArgs...)
	return err
}

// startNode starts a node, or starts it again with the same state.
func (w *world) startNode(p *place, args ...string) (err error) {
	p.proc, err = p.node.StartUp(w.ctx, append(args, w.nodeArgs...)...)
	return err
}

// add places a node on a host, whose link to the others is this one.
func (w *world) add(home *natlab.NAT, link natlab.Link, setLink func(natlab.Link) error, host *natlab.Host, err error) error {
	if err != nil {
		return err
	}
	if setLink == nil {
		setLink = host.SetLink
	}
	addr := prefix.Addr().Next()
	for range w.places {
		addr = addr.Next()
	}
	w.places = append(w.places, &place{node: w.rig.Node(host), home: home, addr: addr, link: link, setLink: setLink})
	return nil
}

// addHome places a node behind a NAT of its own.
func (w *world) addHome(name string, b natlab.Behavior) error {
	home, err := w.lab.NAT(name+"-home", b, natlab.Through(uplink))
	if err != nil {
		return err
	}
	host, err := home.Host(name)
	return w.add(home, uplink, home.SetLink, host, err)
}

// addCarrier places a node behind a NAT behind a carrier's.
func (w *world) addCarrier(name string) error {
	carrier, err := w.lab.NAT(name+"-isp", natlab.PortRestricted, natlab.CarrierGrade(), natlab.Through(uplink))
	if err != nil {
		return err
	}
	home, err := carrier.NAT(name+"-home", natlab.PortRestricted, natlab.Through(inLAN))
	if err != nil {
		return err
	}
	host, err := home.Host(name)
	return w.add(home, inLAN, home.SetLink, host, err)
}

// addLAN places two nodes behind one NAT.
func (w *world) addLAN(names ...string) error {
	home, err := w.lab.NAT("home", natlab.PortRestricted, natlab.Through(uplink))
	if err != nil {
		return err
	}
	for _, name := range names {
		host, err := home.Host(name, natlab.Through(inLAN))
		if err := w.add(home, inLAN, nil, host, err); err != nil {
			return err
		}
	}
	return nil
}

// addPublic places a node in public.
func (w *world) addPublic(name string) error {
	host, err := w.lab.PublicHost(name, natlab.Through(uplink))
	return w.add(nil, uplink, nil, host, err)
}

// kill ends a process at once.
func kill(p *e2e.Process) error {
	err := p.Signal(os.Kill)
	p.Wait()
	return err
}

// keepLogs copies what the processes said last to a directory.
func (w *world) keepLogs(dir string) error {
	err := os.MkdirAll(dir, 0o755)
	for _, p := range w.places {
		if p.proc != nil {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, p.node.Name+".log"), []byte(p.proc.Text()), 0o644))
		}
	}
	if w.hub != nil {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "hub.log"), []byte(w.hub.Text()), 0o644))
	}
	if err != nil {
		return fmt.Errorf("keep the logs: %w", err)
	}
	return nil
}

func (w *world) close() {
	if w.lab != nil {
		w.lab.Close()
	}
	os.RemoveAll(w.dir)
}
