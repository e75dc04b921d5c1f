package main

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/p2ptun/p2ptun/config"
)

func runHubs(e env, args []string) error {
	fs := flag.NewFlagSet("hubs", flag.ContinueOnError)
	var s socketFlags
	s.add(fs)
	asJSON := fs.Bool("json", false, "with `hubs list`: print JSON")
	rest, err := parse(fs, args, 2)
	if err != nil {
		return err
	}
	switch form(rest) {
	case "list":
		return s.run(fs, rest, "", func(socket string) error { return listHubs(e, socket, *asJSON) }, "json")
	case "set":
		return s.run(fs, rest, "the link of a hub; `p2ptun hub link` on that server prints it", func(socket string) error { return setHub(e, socket, rest[1]) })
	}
	return usagef("want list or set")
}

// hubInfo is a hub as `hubs list` shows it.
type hubInfo struct {
	URLs []string `json:"urls"`
	Key  string   `json:"key"` // identity
}

func listHubs(e env, socket string, asJSON bool) error {
	var hubs []hubInfo
	if err := ask(e.ctx, socket, "GET", "/hubs", nil, &hubs); err != nil {
		return err
	}
	if asJSON {
		return printJSON(e.stdout, hubs)
	}
	printHubs(e.stdout, hubs)
	return nil
}

func printHubs(w io.Writer, hubs []hubInfo) {
	for _, h := range hubs {
		fmt.Fprintf(w, "%s (identity %s)\n", strings.Join(h.URLs, ", "), h.Key)
	}
}

func setHub(e env, socket, link string) error {
	token, err := secretArg(e, link)
	if err != nil {
		return err
	}
	parsed, err := config.ParseHubLink(token)
	if err != nil {
		return err
	}
	if err := ask(e.ctx, socket, "POST", "/hubs/set", linkRequest{token}, new(any)); err != nil {
		return err
	}
	fmt.Fprintf(e.stderr, "the network's hub is %s now: members that are connected go there within seconds, the others hear of it at the old hub; keep that until `p2ptun nodes` shows all online\n",
		strings.Join(parsed.URLs, ", "))
	return nil
}

// linkRequest names a hub, with its secret.
type linkRequest struct{ Link string }
