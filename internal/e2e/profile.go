package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Profile asks the node for one of its profiles, by its name and query in
// net/http/pprof: "heap?gc=1", "profile?seconds=3".
func (n *Node) Profile(ctx context.Context, name string) ([]byte, error) {
	return profileOf(ctx, n.socket(), name)
}

// Profile is [Node.Profile] of a hub.
func (h *Hub) Profile(ctx context.Context, name string) ([]byte, error) {
	return profileOf(ctx, h.socket, name)
}

func profileOf(ctx context.Context, socket, name string) ([]byte, error) {
	var d net.Dialer
	c := http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, "GET", "http://p2ptun/debug/pprof/"+name, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("profile %s: %s", name, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
