package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/tunnel"
)

func runPing(e env, args []string) error {
	fs := flag.NewFlagSet("ping", flag.ContinueOnError)
	var s socketFlags
	s.add(fs)
	count := fs.Int("count", 4, "how many `N` times")
	interval := fs.Duration("interval", time.Second, "time `D` between two")
	asJSON := fs.Bool("json", false, "print one JSON object per reply")
	rest, err := parse(fs, args, 1)
	switch {
	case err != nil:
		return err
	case len(rest) == 0:
		return usagef("want the name of a member; `p2ptun nodes` lists them")
	case *count < 1:
		return usagef("--count %d: want 1 or more", *count)
	case *interval < 0:
		return usagef("--interval %v: want a time that is not negative", *interval)
	}
	socket, err := s.path()
	if err != nil {
		return err
	}
	query := url.Values{"name": {rest[0]}, "count": {strconv.Itoa(*count)}, "interval": {interval.String()}}
	body, err := request(e.ctx, socket, "POST", "/ping?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	received, err := printPongs(e.stdout, body, *asJSON)
	if err != nil || received > 0 {
		return err
	}
	return config.WithHint(fmt.Errorf("%s answered none of %d pings", rest[0], *count),
		fmt.Sprintf("`p2ptun status %s` says how things stand", rest[0]))
}

// printPongs shows the replies as they come and counts them.
func printPongs(w io.Writer, body io.Reader, asJSON bool) (received int, err error) {
	out := json.NewEncoder(w)
	for replies := json.NewDecoder(body); ; {
		var p tunnel.Pong
		switch err := replies.Decode(&p); {
		case errors.Is(err, io.EOF):
			return received, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return received, errors.New("the node has stopped")
		case err != nil:
			return received, fmt.Errorf("the node's answer: %w", err)
		}
		if !p.Lost {
			received++
		}
		if asJSON {
			out.Encode(p)
		} else {
			fmt.Fprintln(w, pongText(p))
		}
	}
}

func pongText(p tunnel.Pong) string {
	if p.Lost {
		return fmt.Sprintf("no reply from %s (%v), seq %d", p.Name, p.Address, p.Sequence)
	}
	return fmt.Sprintf("reply from %s (%v), seq %d: %.2f ms, %s via %s", p.Name, p.Address, p.Sequence, p.RTT, p.Path, orDash(p.Remote.Address))
}
