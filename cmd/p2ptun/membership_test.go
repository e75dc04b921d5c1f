package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/tunnel"
)

// TestMember holds what a machine becomes by the token it is given and by what
// it was.
func TestMember(t *testing.T) {
	o := &upOptions{File: config.File{Name: "laptop"}, create: "home"}
	invite, other, link := testInvite(), testInvite(), testLink()
	sameNetwork := invite
	sameNetwork.Secret[0]++

	joining := prepare(t, invite)
	member := prepare(t, invite)
	member.NetworkName, member.Proof, member.Invite = "office", [][]byte{[]byte("record")}, nil

	const fresh = "" // neither kept nor refused
	for _, tt := range []struct {
		name  string
		t     tokens
		known *config.Node
		kept  bool
		err   string
	}{
		{"nothing, stranger", tokens{}, nil, false, "in no network yet"},
		{"nothing, joining", tokens{}, joining, true, ""},
		{"nothing, member", tokens{}, member, true, ""},
		{"invite, stranger", tokens{invite: &invite}, nil, false, fresh},
		{"invite, joining by it", tokens{invite: &invite}, joining, true, ""},
		{"invite, joining by another", tokens{invite: &sameNetwork}, joining, false, fresh},
		{"invite, member", tokens{invite: &invite}, member, true, ""},
		{"another invite, member", tokens{invite: &sameNetwork}, member, true, ""},
		{"foreign invite, member", tokens{invite: &other}, member, false, "belongs to the network office already"},
		{"link, joining", tokens{link: &link}, joining, false, fresh},
		{"link, member", tokens{link: &link}, member, false, "belongs to the network office already"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := o.member(tt.t, tt.known)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || config.HintOf(err) == "" {
					t.Fatalf("got %v, want %q with a hint", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if (got == tt.known) != tt.kept {
				t.Errorf("kept %t, want %t", got == tt.known, tt.kept)
			}
			if tt.kept {
				return
			}
			if got.Name != "laptop" || got.Key.IsZero() || bytes.Equal(got.Key.Seed(), joining.Key.Seed()) {
				t.Errorf("%v has no keys of its own", got)
			}
			if maker := got.Creator != nil; maker != (tt.t.link != nil) || maker && got.NetworkName != "home" {
				t.Errorf("network %q, its maker %t, want %t", got.NetworkName, maker, tt.t.link != nil)
			}
		})
	}
}

func prepare(t *testing.T, invite config.Invite) *config.Node {
	n, err := tunnel.PrepareJoin(invite, "laptop")
	if err != nil {
		t.Fatal(err)
	}
	return n
}
