package main

import (
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling/hub"
	"golang.org/x/term"
)

func runHub(e env, args []string) error {
	cfg, printLink, err := parseHub(e, args)
	if err != nil {
		return err
	}
	h, err := hub.New(cfg)
	if err != nil {
		return err
	}
	if printLink || isTerminal(e.stdout) {
		fmt.Fprintf(e.stdout, "hub link: %s\n", h.Link().Token())
	} else {
		fmt.Fprintf(e.stderr, "the hub serves; its link is in %s (--print-link prints it)\n", filepath.Join(cfg.State, hub.LinkFile))
	}
	return h.Run(e.ctx)
}

func parseHub(e env, args []string) (cfg hub.Config, printLink bool, err error) {
	fs := flag.NewFlagSet("hub", flag.ContinueOnError)
	var public list
	var log logFlags
	fs.StringVar(&cfg.Listen, "listen", ":443", "`ADDR` for signaling, TCP")
	fs.StringVar(&cfg.TURNListen, "turn-listen", ":3478", "`ADDR` for STUN and TURN, UDP")
	fs.StringVar(&cfg.State, "state", config.DefaultHubState, "state directory `DIR`")
	fs.Var(&public, "public-addr", "an `IP` that members can reach; may be given several times (default: this machine's public ones)")
	fs.BoolVar(&cfg.AllowPrivatePeers, "allow-private-peers", false, "relay to private addresses too: a hub on a LAN")
	fs.BoolVar(&printLink, "print-link", false, "print the hub link even if the output is no terminal")
	log.add(fs)
	if _, err := parse(fs, args, 0); err != nil {
		return cfg, false, err
	}
	for _, s := range public {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return cfg, false, usagef("--public-addr %q: want an IP address", s)
		}
		cfg.PublicAddrs = append(cfg.PublicAddrs, a)
	}
	cfg.Log, err = log.open(e.stderr)
	return cfg, printLink, err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
