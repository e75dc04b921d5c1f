package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// helpRequest is not a failure: the user asked for the flags.
type helpRequest struct{ flags string }

func (*helpRequest) Error() string { return "help" }

// parse takes flags wherever they stand and returns the other arguments, of
// which there may be most. After "--" nothing is a flag.
func parse(fs *flag.FlagSet, args []string, most int) ([]string, error) {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	var rest []string
	for {
		err := fs.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			return nil, &helpRequest{flagHelp(fs)}
		}
		if err != nil {
			return nil, flagError(err)
		}
		if fs.NArg() == 0 {
			break
		}
		if consumed := len(args) - fs.NArg(); consumed > 0 && args[consumed-1] == "--" {
			rest = append(rest, fs.Args()...)
			break
		}
		rest = append(rest, fs.Arg(0))
		args = fs.Args()[1:]
	}
	if len(rest) > most {
		return nil, usagef("unexpected argument %q", rest[most])
	}
	return rest, nil
}

// flagError says what package flag says, with flags as this program spells
// them.
func flagError(err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return usagef("there is no flag --%s", name)
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return usagef("--%s wants a value", name)
	}
	return usagef("%s", strings.TrimSuffix(strings.Replace(text, " for flag -", " for --", 1), ": parse error"))
}

// flagHelp is one line per flag.
func flagHelp(fs *flag.FlagSet) string {
	var b bytes.Buffer
	fs.VisitAll(func(f *flag.Flag) {
		kind, text := flag.UnquoteUsage(f)
		name := strings.TrimSpace("--" + f.Name + " " + kind)
		fmt.Fprintf(&b, "  %-22s %s", name, text)
		switch f.DefValue {
		case "", "false", "0":
		default:
			fmt.Fprintf(&b, " (default %s)", f.DefValue)
		}
		b.WriteByte('\n')
	})
	return b.String()
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// addrs is what the values of a flag of that name are, as addresses.
func (l list) addrs(name string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, s := range l {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, usagef("--%s %q: want an IP address", name, s)
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}
