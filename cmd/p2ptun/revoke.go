package main

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/p2ptun/p2ptun/tunnel"
)

func runRevoke(e env, args []string) error {
	fs := flag.NewFlagSet("revoke", flag.ContinueOnError)
	var s socketFlags
	s.add(fs)
	drop := fs.Bool("drop-admitted", false, "of an admin that was stolen or broken into: all that it has signed goes with it, the members that it admitted too")
	keep := fs.Bool("keep-admitted", false, "of an admin: the members that it admitted stay, and who it revoked stays out")
	rest, err := parse(fs, args, 1)
	switch {
	case err != nil:
		return err
	case *keep && *drop:
		return usagef("--keep-admitted and --drop-admitted: one of them")
	case len(rest) == 0:
		return usagef("want " + wantMember)
	}
	socket, err := s.path()
	if err != nil {
		return err
	}
	var r tunnel.Revoked
	if err := ask(e.ctx, socket, "POST", "/revoke", revokeRequest{rest[0], signedFate(*keep, *drop)}, &r); err != nil {
		return err
	}
	printRevoked(e.stderr, r)
	return warnOffline(e, socket, membersOffline)
}

// revokeRequest throws a member out.
type revokeRequest struct {
	Node   string // name or ID
	Signed string // tunnel.KeepSigned, tunnel.DropSigned or ""
}

func signedFate(keep, drop bool) string {
	switch {
	case keep:
		return tunnel.KeepSigned
	case drop:
		return tunnel.DropSigned
	}
	return ""
}

func printRevoked(w io.Writer, r tunnel.Revoked) {
	if len(r.Kept) > 0 {
		fmt.Fprintf(w, "%s had admitted %s: they stay, this machine vouches for them now\n", r.Name, strings.Join(r.Kept, ", "))
	}
	if len(r.Gone) > 0 {
		fmt.Fprintf(w, "%s had admitted %s: they go with it, and need new invites to come back\n", r.Name, strings.Join(r.Gone, ", "))
	}
	if len(r.Back) > 0 {
		fmt.Fprintf(w, "%s alone had revoked %s: they are members again, until you revoke them\n", r.Name, strings.Join(r.Back, ", "))
	}
	fmt.Fprintf(w, "revoked %s: its tunnels end on every member that is reachable now, and on the others when they come\n", r.Name)
}
