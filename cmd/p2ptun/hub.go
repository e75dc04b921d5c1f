package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling/hub"
	"golang.org/x/term"
)

// hubOptions are what `hub` was told.
type hubOptions struct {
	hub.Config
	printLink bool
	link      bool // `hub link`
	rotate    bool
}

func runHub(e env, args []string) error {
	o, err := parseHub(e, args)
	if err != nil {
		return err
	}
	if o.link {
		return runHubLink(e, o)
	}
	h, err := hub.New(o.Config)
	if err != nil {
		return err
	}
	defer startHubControl(o, h)()
	if o.printLink || isTerminal(e.stdout) {
		fmt.Fprintf(e.stdout, "hub link: %s\n", h.Link().Token())
	} else {
		fmt.Fprintf(e.stderr, "the hub serves; its link is in %s (`p2ptun hub link` prints it)\n", filepath.Join(o.State, hub.LinkFile))
	}
	return h.Run(e.ctx)
}

func parseHub(e env, args []string) (*hubOptions, error) {
	o := new(hubOptions)
	fs := flag.NewFlagSet("hub", flag.ContinueOnError)
	var public, alternate, relays list
	var log logFlags
	fs.StringVar(&o.Listen, "listen", ":443", "`ADDR` for signaling, TCP")
	fs.StringVar(&o.TURNListen, "turn-listen", ":3478", "`ADDR` for STUN and TURN, UDP; STUN also on the next port")
	fs.StringVar(&o.State, "state", config.DefaultHubState, "state directory `DIR`")
	fs.Var(&public, "public-addr", "an `IP` that members can reach; may be given several times (default: this machine's public ones)")
	fs.Var(&alternate, "alt-addr", "a second `IP` of this machine, so that nodes can tell how their NATs map and filter (RFC 5780); once for each family")
	fs.Var(&relays, "relay", "a TURN server besides the hub's own, for all members: a turn or turns `URI`, with ?secret=SECRET where it shares one, @FILE with a line for each; may be given several times")
	fs.StringVar(&o.TLSCert, "tls-cert", "", "PEM `FILE` with a certificate for the hub's host names, besides the hub's own, which needs none")
	fs.StringVar(&o.TLSKey, "tls-key", "", "PEM `FILE` with the key of --tls-cert")
	fs.BoolVar(&o.PlainHTTP, "plain-http", false, "serve without TLS, for a proxy in front that has it (say with --url where that is)")
	fs.Var((*list)(&o.URLs), "url", "a `URL` by which members reach signaling, wss://HOST:PORT; may be given several times (default: from --tls-cert and --public-addr)")
	fs.BoolVar(&o.AllowPrivatePeers, "allow-private-peers", false, "relay to private addresses too: a hub on a LAN")
	rate := fs.Uint("relay-rate", hub.DefaultRelayRate/bytesPerMbit, "how many `MBIT` per second the relay carries for one member at most; 0: no limit")
	fs.BoolVar(&o.printLink, "print-link", false, "print the hub link even if the output is no terminal")
	fs.BoolVar(&o.rotate, "rotate", false, "with `hub link`: make a new access key, the old link creates no networks any more")
	log.add(fs)
	rest, err := parse(fs, args, 1)
	if err != nil {
		return nil, err
	}
	if err := o.check(fs, rest, *rate); err != nil {
		return nil, err
	}
	read := upOptions{File: config.File{Relay: relays}}
	if _, err := read.readRelays(e); err != nil {
		return nil, err
	}
	o.Relays = read.relays
	if o.PublicAddrs, err = public.addrs("public-addr"); err != nil {
		return nil, err
	}
	if o.AltAddrs, err = alternate.addrs("alt-addr"); err != nil {
		return nil, err
	}
	o.Log, err = log.open(e.stderr)
	return o, err
}

// Of --relay-rate.
const (
	bytesPerMbit = 1_000_000 / 8
	mostMbit     = 1_000_000 // 1 Tbit/s
)

// check finds what cannot be meant.
func (o *hubOptions) check(fs *flag.FlagSet, rest []string, rate uint) error {
	if rate > mostMbit {
		return usagef("--relay-rate %d: want up to %d Mbit/s", rate, mostMbit)
	}
	if o.RelayRate = int64(rate) * bytesPerMbit; rate == 0 {
		o.RelayRate = -1
	}
	if o.link = len(rest) == 1 && rest[0] == "link"; len(rest) == 1 && !o.link {
		return usagef("unexpected argument %q", rest[0])
	}
	if o.rotate && !o.link {
		return usagef("--rotate goes with `hub link`")
	}
	var stray string
	fs.Visit(func(f *flag.Flag) {
		if f.Name != "state" && f.Name != "rotate" {
			stray = f.Name
		}
	})
	if o.link && stray != "" {
		return usagef("--%s does not go with `hub link`", stray)
	}
	return nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
