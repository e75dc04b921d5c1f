package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/p2ptun/p2ptun/config"
)

// readRelays fetches and checks what --relay or the config file named. Where
// the token comes from standard input, too, it is the first line there; the env
// that is returned has no more than that left.
func (o *upOptions) readRelays(e env) (env, error) {
	if slices.Contains(o.Relay, "-") {
		b, err := io.ReadAll(io.LimitReader(e.stdin, maxSecretArg))
		if err != nil {
			return e, fmt.Errorf("read relays from standard input: %w", err)
		}
		token, rest := "", string(b)
		if o.invite == "-" || o.hub == "-" {
			token, rest, _ = strings.Cut(rest, "\n")
		}
		e.stdin = strings.NewReader(token)
		if err := o.addRelays("-", rest); err != nil {
			return e, err
		}
	}
	for _, arg := range o.Relay {
		if arg == "-" {
			continue
		}
		lines := arg
		if strings.HasPrefix(arg, "@") {
			var err error
			if lines, err = secretArg(e, arg); err != nil {
				return e, fmt.Errorf("--relay: %w", err)
			}
		}
		if err := o.addRelays(arg, lines); err != nil {
			return e, err
		}
	}
	if len(o.relays) > config.MaxRelays {
		return e, usagef("--relay: %d relays, want %d at most", len(o.relays), config.MaxRelays)
	}
	return e, nil
}

// addRelays takes one relay of each line; empty ones and comments count for
// nothing.
func (o *upOptions) addRelays(arg, lines string) error {
	for line := range strings.Lines(lines) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		r, err := config.ParseRelay(line)
		switch {
		case err != nil && arg == lines:
			return usagef("--relay: %v", err) // it may hold a password
		case err != nil:
			return usagef("--relay %s: %v", arg, err)
		}
		if !slices.Contains(o.relays, r) {
			o.relays = append(o.relays, r)
		}
	}
	return nil
}

// joinRelays is what readRelays takes from standard input.
func joinRelays(token string, relays []config.Relay) string {
	var b strings.Builder
	if token != "" {
		b.WriteString(token + "\n")
	}
	for _, r := range relays {
		b.WriteString(r.URI() + "\n")
	}
	return b.String()
}
