package main

import (
	"flag"
	"net/netip"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// upOptions are what `up` was told, by flags and by the config file.
type upOptions struct {
	config.File
	create     string       // name of a network to make
	hub        string       // link, or where it is read
	prefix     netip.Prefix // invalid: one is drawn
	invite     string       // token, or where it is read
	configFile string
	foreground bool
	log        logFlags
	relays     []config.Relay // what Relay stands for, once it was read
}

// parseUp reads the flags, and from the config file what they leave open.
func parseUp(args []string) (*upOptions, error) {
	o := new(upOptions)
	fs := flag.NewFlagSet("up", flag.ContinueOnError)
	fs.StringVar(&o.create, "new", "", "make a network of this `NAME`")
	fs.StringVar(&o.hub, "hub", "", "with --new: the hub `LINK`, or - for stdin, or @FILE")
	prefix := fs.String("prefix", "", "with --new: the network's IPv4 `CIDR` (default: one that is free here)")
	fs.BoolVar(&o.foreground, "foreground", false, "stay in this process until SIGINT or SIGTERM")
	fs.StringVar(&o.configFile, "config", config.DefaultFile, "config `FILE`")
	fs.StringVar(&o.Name, "name", "", "this machine's `NAME` in the network (default: the host name)")
	fs.StringVar(&o.Interface, "interface", "", "`NAME` of the TUN interface (default "+config.DefaultInterface+")")
	fs.StringVar(&o.State, "state", "", "state directory `DIR` (default "+config.DefaultState+")")
	fs.StringVar(&o.Socket, "socket", "", "`PATH` of the control socket (default /run/p2ptun/<interface>.sock)")
	port := fs.Uint("port", 0, "UDP port `N` (default: drawn once, then kept)")
	fs.BoolVar(&o.NoGSO, "no-gso", false, "pass packets to the kernel one by one, for one that gets many at a time wrong")
	fs.BoolVar(&o.NoLAN, "no-lan", false, "neither tell other members on a LAN where this machine is, nor hear them")
	fs.BoolVar(&o.RelayOnly, "relay-only", false, "use relays alone, and hide this machine's addresses from peers")
	fs.Var((*list)(&o.Relay), "relay", "use this relay as well: `URI` turn:USER:PASSWORD@HOST:PORT, or @FILE or - with one in each line; may be repeated")
	o.log.add(fs)
	rest, err := parse(fs, args, 1)
	if err != nil {
		return nil, err
	}
	if len(rest) == 1 {
		o.invite = rest[0]
	}
	if err := o.check(fs, *prefix, *port); err != nil {
		return nil, err
	}
	file, err := config.LoadFile(o.configFile)
	if err != nil {
		return nil, err
	}
	o.merge(file, fs)
	return o, o.log.check()
}

// check finds what cannot be meant.
func (o *upOptions) check(fs *flag.FlagSet, prefix string, port uint) (err error) {
	switch {
	case o.create != "" && o.invite != "":
		return usagef("an INVITE joins a network, --new makes one: give one of them")
	case o.create != "" && o.hub == "":
		return usagef("--new needs --hub LINK; `p2ptun hub` on a server that everybody can reach prints it")
	case o.create == "" && (o.hub != "" || prefix != ""):
		return usagef("--hub and --prefix go with --new")
	case port > 65535:
		return usagef("--port %d: want 1 to 65535", port)
	}
	o.Port = uint16(port)
	for _, f := range [][2]string{{"new", o.create}, {"name", o.Name}} {
		if err := signaling.CheckName(f[1]); given(fs, f[0]) && err != nil {
			return usagef("--%s: %v", f[0], err)
		}
	}
	if prefix != "" {
		if o.prefix, err = netip.ParsePrefix(prefix); err != nil {
			return usagef("--prefix %q: want a network such as 10.77.0.0/16", prefix)
		}
	}
	return nil
}

// merge takes from the file what no flag said, and the defaults for the rest.
func (o *upOptions) merge(f config.File, fs *flag.FlagSet) {
	take := func(flag string, dst *string, value, def string) {
		if given(fs, flag) {
			return
		}
		if *dst = value; value == "" {
			*dst = def
		}
	}
	take("name", &o.Name, f.Name, "")
	take("interface", &o.Interface, f.Interface, config.DefaultInterface)
	take("state", &o.State, f.State, config.DefaultState)
	if given(fs, "interface") {
		f.Socket = "" // the file's is another node's
	}
	take("socket", &o.Socket, f.Socket, config.DefaultSocket(o.Interface))
	take("log-level", &o.log.level, f.LogLevel, "info")
	take("log-format", &o.log.format, f.LogFormat, "text")
	if !given(fs, "port") {
		o.Port = f.Port
	}
	if !given(fs, "relay") {
		o.Relay = f.Relay
	}
	if !given(fs, "no-gso") {
		o.NoGSO = f.NoGSO
	}
	if !given(fs, "no-lan") {
		o.NoLAN = f.NoLAN
	}
	if !given(fs, "relay-only") {
		o.RelayOnly = f.RelayOnly
	}
}

// given says whether the flag stood on the command line.
func given(fs *flag.FlagSet, name string) (found bool) {
	fs.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}
