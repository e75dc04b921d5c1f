package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/p2ptun/p2ptun/tunnel"
)

// QuickStatus is [Node.Status] without a process of its own, for who asks often.
func (n *Node) QuickStatus(ctx context.Context) (*tunnel.Status, error) {
	b, err := get(ctx, n.socket(), "status")
	if err != nil {
		return nil, err
	}
	s := new(tunnel.Status)
	return s, json.Unmarshal(b, s)
}

// Profile asks the node for one of its profiles, by its name and query in
// net/http/pprof: "heap?gc=1", "profile?seconds=3".
func (n *Node) Profile(ctx context.Context, name string) ([]byte, error) {
	return get(ctx, n.socket(), "debug/pprof/"+name)
}

// Profile is [Node.Profile] of a hub.
func (h *Hub) Profile(ctx context.Context, name string) ([]byte, error) {
	return get(ctx, h.socket, "debug/pprof/"+name)
}

// Clock is what the node's clock shows, to the second.
func (n *Node) Clock(ctx context.Context) (time.Time, error) {
	resp, err := ask(ctx, n.socket(), "status")
	if err != nil {
		return time.Time{}, err
	}
	defer resp.Body.Close()
	return http.ParseTime(resp.Header.Get("Date"))
}

func get(ctx context.Context, socket, path string) ([]byte, error) {
	resp, err := ask(ctx, socket, path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for %s: %s", path, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// ask asks a control socket. The caller closes the answer's body.
func ask(ctx context.Context, socket, path string) (*http.Response, error) {
	var d net.Dialer
	c := http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, "GET", "http://p2ptun/"+path, nil)
	if err != nil {
		return nil, err
	}
	return c.Do(req)
}
