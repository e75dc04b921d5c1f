package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/p2ptun/p2ptun/signaling"
)

func runInvite(e env, args []string) error {
	fs := flag.NewFlagSet("invite", flag.ContinueOnError)
	var s socketFlags
	s.add(fs)
	var r inviteRequest
	life, member := lifetime(24*time.Hour), lifetime(0)
	fs.IntVar(&r.Uses, "uses", 1, "how many machines may join with it: `N`")
	fs.Var(&life, "expires", "how long it is good, as `D`: 90m, 24h, 7d")
	fs.Var((*list)(&r.Tags), "tag", "a tag `T` for the machines that join; may be given several times")
	fs.StringVar(&r.Replaces, "replace", "", "a member's `NAME`: who joins gets its name and address, and it is revoked then")
	fs.Var(&member, "member-expires", "how long the machines that join are members, as `D` (default: for ever)")
	fs.StringVar(&r.Keeper, "keeper", "", "an admin's name or ID, `NODE`: that machine keeps the invite, so this one may go off")
	asJSON := fs.Bool("json", false, "with `invite list`: print JSON")
	rest, err := parse(fs, args, 2)
	if err != nil {
		return err
	}
	r.Expires, r.MemberExpires = time.Duration(life), time.Duration(member)
	switch form(rest) {
	case "":
		if err := only(fs, "invite", "uses", "expires", "tag", "replace", "member-expires", "keeper"); err != nil {
			return err
		}
		if r.Uses < 1 {
			return usagef("--uses %d: want 1 or more", r.Uses)
		}
		return newInvite(e, &s, r)
	case "list":
		return s.run(fs, rest, "", func(socket string) error { return listInvites(e, socket, *asJSON) }, "json")
	case "revoke":
		return s.run(fs, rest, "the ID of an invite; `p2ptun invite list` shows it", func(socket string) error {
			if err := ask(e.ctx, socket, "POST", "/invites/revoke", nodeRequest{Node: rest[1]}, new(any)); err != nil {
				return err
			}
			fmt.Fprintf(e.stderr, "revoked the invite %s: nobody joins with it any more; who has joined stays\n", rest[1])
			return nil
		})
	}
	return usagef("unexpected argument %q: want list or revoke, or nothing", rest[0])
}

// inviteRequest asks for an invite.
type inviteRequest struct {
	signaling.InviteOptions
	Keeper string // name or ID; "": the node itself
}

// newInvite prints the token, and nothing else, on stdout.
func newInvite(e env, s *socketFlags, r inviteRequest) error {
	socket, err := s.path()
	if err != nil {
		return err
	}
	var token string
	if err := ask(e.ctx, socket, "POST", "/invite", r, &token); err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, token)
	if r.Keeper != "" {
		fmt.Fprintf(e.stderr, "%s keeps this invite: `p2ptun invite list` there shows it\n", r.Keeper)
		return nil
	}
	return warnOffline(e, socket, inviteOffline)
}

const inviteOffline = "the invite is good once it is: this machine admits who joins with it"

func listInvites(e env, socket string, asJSON bool) error {
	var invites []signaling.InviteInfo
	if err := ask(e.ctx, socket, "GET", "/invites", nil, &invites); err != nil {
		return err
	}
	if asJSON {
		return printJSON(e.stdout, invites)
	}
	return printInvites(e.stdout, invites)
}

func printInvites(w io.Writer, invites []signaling.InviteInfo) error {
	if len(invites) == 0 {
		fmt.Fprintln(w, "this machine keeps no invites; `p2ptun invite` makes one")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tSTATE\tUSED\tEXPIRES\tTAGS\tREPLACES\tMEMBERS FOR\tMADE BY\tJOINED")
	for _, i := range invites {
		fmt.Fprintf(t, "%s\t%s\t%d of %d\t%s\t%s\t%s\t%s\t%s\t%s\n", i.ID, i.State, i.Used, i.Uses, endText(&i.Expires),
			orDash(strings.Join(i.Tags, ",")), orDash(i.Replaces), orDash(i.MemberExpires), orDash(i.From), orDash(strings.Join(i.Joined, ",")))
	}
	return t.Flush()
}

// lifetime is a flag: a time to come, in Go's form or in whole days.
type lifetime time.Duration

// maxDays keeps a lifetime within what a time.Duration holds.
const maxDays = 36_500

var errLifetime = errors.New("want a time to come such as 90m, 24h or 7d")

func (l *lifetime) String() string {
	d := time.Duration(*l)
	switch {
	case d == 0:
		return ""
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}

func (l *lifetime) Set(s string) error {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(min(n, maxDays)) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return errLifetime
	}
	*l = lifetime(d)
	return nil
}
