package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tunnel"
)

// tokens are what `up` was given to join or to make a network with; at most
// one of them is not nil.
type tokens struct {
	invite *config.Invite
	link   *config.HubLink
}

func (t tokens) none() bool { return t.invite == nil && t.link == nil }

// readTokens fetches and checks the token in the arguments, and the relays.
func (o *upOptions) readTokens(e env) (t tokens, err error) {
	if e, err = o.readRelays(e); err != nil {
		return t, err
	}
	switch {
	case o.invite != "":
		text, err := secretArg(e, o.invite)
		if err != nil {
			return t, err
		}
		invite, err := config.ParseInvite(text)
		t.invite = &invite
		return t, err
	case o.create != "":
		text, err := secretArg(e, o.hub)
		if err != nil {
			return t, err
		}
		link, err := config.ParseHubLink(text)
		t.link = &link
		return t, err
	}
	return t, nil
}

var errNoNetwork = config.WithHint(errors.New("this machine is in no network yet"),
	"join one with `p2ptun up INVITE`, or make one with `p2ptun up --new NAME --hub LINK`")

// member finds out what this machine is to be: what it was, the first member
// of a new network, or a joiner. What it was is returned as known itself.
func (o *upOptions) member(t tokens, known *config.Node) (*config.Node, error) {
	joined := known != nil && known.Joined()
	switch {
	case t.none() && known == nil:
		return nil, errNoNetwork
	case t.none():
		return known, nil
	case t.link != nil && joined:
		return nil, alreadyMember(known.NetworkName)
	case t.link != nil:
		return tunnel.CreateNetwork(o.create, o.nodeName(), o.prefix, *t.link)
	case joined && known.Network == t.invite.Network:
		return known, nil // a second use of the same line does no harm
	case joined:
		return nil, alreadyMember(known.NetworkName)
	case known != nil && known.Invite != nil && known.Invite.Token() == t.invite.Token():
		return known, nil // an interrupted join goes on with the keys it has shown
	}
	return tunnel.PrepareJoin(*t.invite, o.nodeName())
}

// nodeName is the name that the machine is to have in the network.
func (o *upOptions) nodeName() string {
	if o.Name != "" {
		return o.Name
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return signaling.CleanName(host)
}

// networkText names a network: by its ID as long as the name is not known.
func networkText(n tunnel.NetworkStatus) string {
	if n.Name != "" {
		return n.Name
	}
	return n.ID
}

func alreadyMember(network string) error {
	return config.WithHint(fmt.Errorf("this machine belongs to the network %s already", network),
		"`p2ptun up` brings it up; `p2ptun leave` forgets it; a second network needs its own --state, --socket and --interface")
}
