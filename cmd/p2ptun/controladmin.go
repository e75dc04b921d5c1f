package main

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tunnel"
)

// servedAdmin is what commands for admins ask of a *tunnel.Node, safe for
// concurrent use.
type servedAdmin interface {
	Invite(context.Context, signaling.InviteOptions) (token string, err error)
	InviteKeptBy(ctx context.Context, keeper string, o signaling.InviteOptions) (token string, err error)
	Invites(context.Context) ([]signaling.InviteInfo, error)
	RevokeInvite(ctx context.Context, id string) error
	Revoke(ctx context.Context, name, signed string) (*tunnel.Revoked, error)
	Delegate(ctx context.Context, name string) (*tunnel.NodeInfo, error)
	Extend(ctx context.Context, name string, life time.Duration) (*tunnel.NodeInfo, error)
	Hubs(context.Context) ([]config.Hub, error)
	SetHub(context.Context, config.HubLink) error
	ExportKey(context.Context) (*config.Backup, error)
	ImportKey(context.Context, *config.Backup) error
}

// handleAdmin serves what admins ask for.
func handleAdmin(mux *http.ServeMux, node servedAdmin) {
	mux.HandleFunc("GET /invites", func(w http.ResponseWriter, r *http.Request) { answer(w)(node.Invites(r.Context())) })
	mux.HandleFunc("POST /invite", takes(func(ctx context.Context, r inviteRequest) (any, error) {
		if r.Keeper != "" {
			return node.InviteKeptBy(ctx, r.Keeper, r.InviteOptions)
		}
		return node.Invite(ctx, r.InviteOptions)
	}))
	mux.HandleFunc("POST /invites/revoke", takes(func(ctx context.Context, r nodeRequest) (any, error) {
		return nil, node.RevokeInvite(ctx, r.Node)
	}))
	mux.HandleFunc("POST /revoke", takes(func(ctx context.Context, r revokeRequest) (any, error) {
		return node.Revoke(ctx, r.Node, r.Signed)
	}))
	mux.HandleFunc("POST /delegate", takes(func(ctx context.Context, r nodeRequest) (any, error) {
		return node.Delegate(ctx, r.Node)
	}))
	mux.HandleFunc("POST /extend", takes(func(ctx context.Context, r nodeRequest) (any, error) {
		return node.Extend(ctx, r.Node, r.Life)
	}))
	mux.HandleFunc("GET /hubs", func(w http.ResponseWriter, r *http.Request) {
		hubs, err := node.Hubs(r.Context())
		list := []hubInfo{}
		for _, h := range hubs {
			list = append(list, hubInfo{h.URLs, h.Key.String()})
		}
		answer(w)(list, err)
	})
	mux.HandleFunc("POST /hubs/set", takes(func(ctx context.Context, r linkRequest) (any, error) {
		link, err := config.ParseHubLink(r.Link)
		if err != nil {
			return nil, err
		}
		return nil, node.SetHub(ctx, link)
	}))
	mux.HandleFunc("GET /key", func(w http.ResponseWriter, r *http.Request) {
		b, err := node.ExportKey(r.Context())
		if err != nil {
			answer(w)(nil, err)
			return
		}
		raw, err := b.Marshal()
		answer(w)(json.RawMessage(raw), err)
	})
	mux.HandleFunc("POST /key", takes(func(ctx context.Context, raw json.RawMessage) (any, error) {
		b, err := config.ParseBackup(raw)
		if err != nil {
			return nil, err
		}
		return nil, node.ImportKey(ctx, b)
	}))
}

// takes serves a command that comes with a request in JSON.
func takes[R any](do func(context.Context, R) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request R
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			answer(w)(nil, err)
			return
		}
		answer(w)(do(r.Context(), request))
	}
}
