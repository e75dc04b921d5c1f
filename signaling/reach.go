package signaling

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"
)

// How the hub's addresses are tried. Any may lead into the dark.
const (
	// nextAfter is when the next one is tried beside those that have not
	// answered.
	nextAfter = 250 * time.Millisecond

	// redialEvery is when all are tried again: a kernel repeats a SYN that was
	// lost after 1 s, 3 s, 7 s, and misses the moment in which a hub comes back.
	redialEvery = time.Second
)

// errNoAnswer is that of addresses that lead into the dark.
var errNoAnswer = errors.New("no answer")

// reach makes one connection to the hub, by the first of its addresses that
// leads there, and is welcomed.
func (c *Client) reach(ctx context.Context) (*link, error) {
	hub := *c.hub.Load()
	urls := c.order(hub.URLs)
	for {
		raw, to, err := openAny(ctx, urls, c.dial)
		if err != nil {
			return nil, err
		}
		l, err := c.connect(ctx, raw, hub.Key, to)
		if err == nil {
			c.last.Store(&to)
			return l, nil
		}
		urls = slices.DeleteFunc(urls, func(u string) bool { return u == to })
		if len(urls) == 0 || errors.As(err, new(*Error)) || ctx.Err() != nil {
			return nil, err
		}
	}
}

// order puts the address that worked last first.
func (c *Client) order(urls []string) []string {
	urls = slices.Clone(urls)
	if last := c.last.Load(); last != nil {
		if i := slices.Index(urls, *last); i > 0 {
			urls = slices.Concat(urls[i:], urls[:i])
		}
	}
	return urls
}

// opened is the outcome of one dial.
type opened struct {
	conn net.Conn
	to   string
	err  error
}

// openAny opens a connection to whichever of the URLs answers first; those in front
// have a start.
func openAny(ctx context.Context, urls []string, connect func(ctx context.Context, to string) (net.Conn, error)) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel() // the losers close what they open
	done := make(chan opened)
	begun, pending := 0, 0
	dial := func() {
		to := urls[begun%len(urls)]
		begun++
		pending++
		go func() {
			conn, err := connect(ctx, to)
			select {
			case done <- opened{conn, to, err}:
			case <-ctx.Done():
				if err == nil {
					conn.Close()
				}
			}
		}()
	}
	dial()
	next := time.NewTimer(openPause(begun, len(urls)))
	defer next.Stop()
	err := fmt.Errorf("cannot reach the hub at %s: %w", urls[0], errNoAnswer)
	for {
		select {
		case <-ctx.Done():
			return nil, "", err
		case o := <-done:
			if o.err == nil {
				return o.conn, o.to, nil
			}
			if ctx.Err() != nil {
				return nil, "", err // it was given up
			}
			err = fmt.Errorf("cannot reach the hub at %s: %w", o.to, o.err)
			pending--
			if begun >= len(urls) && pending == 0 {
				return nil, "", err // all have said no
			}
			if begun >= len(urls) {
				continue
			}
		case <-next.C:
		}
		dial()
		next.Reset(openPause(begun, len(urls)))
	}
}

// openPause is when to dial again after so many dials of so many addresses.
func openPause(begun, urls int) time.Duration {
	if begun%urls != 0 {
		return nextAfter
	}
	return max(redialEvery-time.Duration(urls-1)*nextAfter, nextAfter)
}

// dial opens a connection to where a URL leads.
func (c *Client) dial(ctx context.Context, to string) (net.Conn, error) {
	dial := c.netDial
	if dial == nil {
		dial = (&net.Dialer{Control: Burst}).DialContext
	}
	return dialURL(ctx, dial, to)
}

func dialURL(ctx context.Context, dial DialFunc, to string) (net.Conn, error) {
	u, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	scheme := "https"
	if u.Scheme == "ws" {
		scheme = "http"
	}
	return dialTCP(ctx, dial, scheme, hostPort(u))
}

// hostPort is where a hub's URL leads.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "wss":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
