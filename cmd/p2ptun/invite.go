package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/p2ptun/p2ptun/signaling"
)

func runInvite(e env, args []string) error {
	fs := flag.NewFlagSet("invite", flag.ContinueOnError)
	var s socketFlags
	s.add(fs)
	var o signaling.InviteOptions
	life := lifetime(24 * time.Hour)
	fs.IntVar(&o.Uses, "uses", 1, "how many machines may join with it: `N`")
	fs.Var(&life, "expires", "how long it is good, as `D`: 90m, 24h, 7d")
	fs.Var((*list)(&o.Tags), "tag", "a tag `T` for the machines that join; may be given several times")
	if _, err := parse(fs, args, 0); err != nil {
		return err
	}
	if o.Uses < 1 {
		return usagef("--uses %d: want 1 or more", o.Uses)
	}
	o.Expires = time.Duration(life)
	socket, err := s.path()
	if err != nil {
		return err
	}
	var token string
	if err := ask(e.ctx, socket, "POST", "/invite", o, &token); err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, token)
	return nil
}

// lifetime is a flag: a time to come, in Go's form or in whole days.
type lifetime time.Duration

// maxDays keeps a lifetime within what a time.Duration holds.
const maxDays = 36_500

var errLifetime = errors.New("want a time to come such as 90m, 24h or 7d")

func (l *lifetime) String() string {
	d := time.Duration(*l)
	if d%time.Hour == 0 {
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
