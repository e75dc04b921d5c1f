package main

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tunnel"
)

func (n *fakeNode) was(asked ...any) error {
	n.asked = asked
	return n.err
}

func (n *fakeNode) Invite(_ context.Context, o signaling.InviteOptions) (string, error) {
	return "TOKEN", n.was(o)
}

func (n *fakeNode) InviteKeptBy(_ context.Context, keeper string, o signaling.InviteOptions) (string, error) {
	return "TOKEN", n.was(keeper, o)
}

func (n *fakeNode) Invites(context.Context) ([]signaling.InviteInfo, error) {
	return []signaling.InviteInfo{{
		ID: "abcdefgh", State: signaling.TicketOpen, Uses: 3, Used: 1, Expires: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Tags: []string{"a"}, Replaces: "old", MemberExpires: "1h0m0s", From: "desktop", Joined: []string{"phone"},
	}}, n.err
}

func (n *fakeNode) RevokeInvite(_ context.Context, id string) error { return n.was(id) }

func (n *fakeNode) Revoke(_ context.Context, name, signed string) (*tunnel.Revoked, error) {
	r := &tunnel.Revoked{Name: "laptop", Kept: []string{"a", "b"}}
	if signed == tunnel.DropSigned {
		r.Kept, r.Gone, r.Back = nil, r.Kept, []string{"c"}
	}
	return r, n.was(name, signed)
}

func (n *fakeNode) Delegate(_ context.Context, name string) (*tunnel.NodeInfo, error) {
	return &tunnel.NodeInfo{Name: "laptop"}, n.was(name)
}

func (n *fakeNode) Extend(_ context.Context, name string, life time.Duration) (*tunnel.NodeInfo, error) {
	info := &tunnel.NodeInfo{Name: "laptop"}
	if life > 0 {
		end := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		info.Expires = &end
	}
	return info, n.was(name, life)
}

var fakeHub = config.Hub{URLs: []string{"wss://192.0.2.1:443", "wss://192.0.2.2:443"}, Key: config.HubKey{1}}

func (n *fakeNode) Hubs(context.Context) ([]config.Hub, error) { return []config.Hub{fakeHub}, n.err }

func (n *fakeNode) SetHub(_ context.Context, l config.HubLink) error { return n.was(l) }

func (n *fakeNode) ExportKey(context.Context) (*config.Backup, error) {
	if n.err != nil {
		return nil, n.err
	}
	return testBackup(), nil
}

func (n *fakeNode) ImportKey(_ context.Context, b *config.Backup) error { return n.was(b) }

// TestAdminCommands: what is asked of the node, and what is said when it is
// done: the answer on stdout, all else on stderr.
func TestAdminCommands(t *testing.T) {
	link := testLink()
	day := signaling.InviteOptions{Uses: 1, Expires: 24 * time.Hour}
	done := "its tunnels end on every member that is reachable now, and on the others when they come\n"
	for _, tt := range []struct {
		args   string
		asked  []any
		stdout string
		stderr string
	}{
		{"invite", []any{day}, "TOKEN\n", ""},
		{"invite --uses 3 --expires 2d --tag a --replace old --tag b --member-expires 1h", []any{signaling.InviteOptions{
			Uses: 3, Expires: 48 * time.Hour, Tags: []string{"a", "b"}, Replaces: "old", MemberExpires: time.Hour,
		}}, "TOKEN\n", ""},
		{"invite --keeper box", []any{"box", day}, "TOKEN\n", "box keeps this invite: `p2ptun invite list` there shows it\n"},
		{"invite list", nil, "ID        STATE  USED    EXPIRES               TAGS  REPLACES  MEMBERS FOR  MADE BY  JOINED\n" +
			"abcdefgh  open   1 of 3  2026-01-02 03:04 UTC  a     old       1h0m0s       desktop  phone\n", ""},
		{"invite revoke abcdefgh", []any{"abcdefgh"}, "", "revoked the invite abcdefgh: nobody joins with it any more; who has joined stays\n"},
		{"revoke laptop", []any{"laptop", ""}, "", "laptop had admitted a, b: they stay, this machine vouches for them now\nrevoked laptop: " + done},
		{"revoke --drop-admitted laptop", []any{"laptop", "drop"}, "", "laptop had admitted a, b: they go with it, and need new invites to come back\nlaptop alone had revoked c: they are members again, until you revoke them\nrevoked laptop: " + done},
		{"network delegate laptop", []any{"laptop"}, "", "laptop is an admin now: it can admit and revoke plain members\n"},
		{"network extend laptop", []any{"laptop", time.Duration(0)}, "", "laptop is a member without end now\n"},
		{"network --member-expires 7d extend laptop", []any{"laptop", 7 * 24 * time.Hour}, "", "laptop is a member until 2026-01-02 03:04 UTC now\n"},
		{"hubs list", nil, "wss://192.0.2.1:443, wss://192.0.2.2:443 (identity " + fakeHub.Key.String() + ")\n", ""},
		{"hubs set " + link.Token(), []any{link}, "", "the network's hub is ws://192.0.2.1:443 now: members that are connected go there within seconds, " +
			"the others hear of it at the old hub; keep that until `p2ptun nodes` shows all online\n"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			node := &fakeNode{}
			code, stdout, stderr := serve(t, node).command(t, strings.Fields(tt.args)...)
			if code != 0 || stdout != tt.stdout || stderr != tt.stderr {
				t.Errorf("exit code %d, stdout %q, stderr %q; want 0, %q, %q", code, stdout, stderr, tt.stdout, tt.stderr)
			}
			if !reflect.DeepEqual(node.asked, tt.asked) {
				t.Errorf("asked for %+v, want %+v", node.asked, tt.asked)
			}
		})
		t.Run(tt.args+", refused", func(t *testing.T) {
			node := &fakeNode{err: config.WithHint(errors.New("no"), "ask the other machine")}
			code, stdout, stderr := serve(t, node).command(t, strings.Fields(tt.args)...)
			if want := "p2ptun: error: no\np2ptun: hint: ask the other machine\n"; code != 1 || stdout != "" || stderr != want {
				t.Errorf("exit code %d, stdout %q, stderr %q; want 1, none, %q", code, stdout, stderr, want)
			}
		})
	}
}

// TestAdminJSON holds the names of what `--json` prints.
func TestAdminJSON(t *testing.T) {
	s := serve(t, &fakeNode{})
	for args, want := range map[string][]string{
		"invite list --json": {`"id": "abcdefgh"`, `"state": "open"`, `"uses": 3`, `"used": 1`, `"joined": [`},
		"hubs list --json":   {`"urls": [`, `"key": "` + fakeHub.Key.String() + `"`},
		"nodes --json":       {`"admin": true`, `"expires": "2026-01-02T03:04:05Z"`, `"expires": null`},
	} {
		code, stdout, stderr := s.command(t, strings.Fields(args)...)
		for _, w := range want {
			if code != 0 || !strings.Contains(stdout, w) {
				t.Errorf("%s: exit code %d, %q is not in\n%s%s", args, code, w, stdout, stderr)
			}
		}
	}
}

// TestOfflineWarning: away from the hub things are done, and it is said what
// they wait for.
func TestOfflineWarning(t *testing.T) {
	s := serve(t, &fakeNode{offline: true})
	for args, want := range map[string]string{
		"invite":                  "p2ptun: warning: this machine is not connected to the hub; the invite is good once it is: this machine admits who joins with it\n",
		"revoke laptop":           "p2ptun: warning: this machine is not connected to the hub; the other members hear of this once it is\n",
		"network delegate laptop": "p2ptun: warning: this machine is not connected to the hub; the other members hear of this once it is\n",
		"network extend laptop":   "p2ptun: warning: this machine is not connected to the hub; the other members hear of this once it is\n",
	} {
		code, stdout, stderr := s.command(t, strings.Fields(args)...)
		if code != 0 || !strings.HasSuffix(stderr, want) {
			t.Errorf("%s: exit code %d, stderr %q, want %q", args, code, stderr, want)
		}
		if args == "invite" && stdout != "TOKEN\n" {
			t.Errorf("stdout %q, want the token", stdout)
		}
	}
}
