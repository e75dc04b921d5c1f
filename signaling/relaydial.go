package signaling

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
)

// RelayWay is a way to a hub's relay for a network that lets no UDP out.
type RelayWay string

// The ways, the cheapest first: they are told apart at the hub's one port.
const (
	RelayTCP       RelayWay = "tcp"
	RelayTLS       RelayWay = "tls"
	RelayWebSocket RelayWay = "websocket"
)

// RelayWays are all of them, in that order.
var RelayWays = []RelayWay{RelayTCP, RelayTLS, RelayWebSocket}

// RelayURL names the relay of a hub, which is at a URL of it, and the way there: a
// URI of RFC 7065, or a WebSocket's. It is "" where that way does not lead there.
func (w RelayWay) RelayURL(to string) string {
	u, err := url.Parse(to)
	if err != nil {
		return ""
	}
	at := hostPort(u)
	switch {
	case w == RelayTCP:
		return "turn:" + at + "?transport=tcp"
	case w == RelayTLS && u.Scheme == "wss":
		return "turns:" + at + "?transport=tcp"
	case w == RelayWebSocket:
		return u.Scheme + "://" + at + RelayPath
	}
	return ""
}

// Dial opens a stream to the hub's relay, by whichever of the hub's addresses leads
// there. Under TLS the hub has to be who it is, or stand where its certificate says.
// It may be called from any goroutine.
func (w RelayWay) Dial(ctx context.Context, dial DialFunc, hub config.Hub) (net.Conn, error) {
	urls := slices.DeleteFunc(slices.Clone(hub.URLs), func(u string) bool { return w.RelayURL(u) == "" })
	if len(urls) == 0 {
		return nil, errors.New("the hub has no TLS")
	}
	for {
		raw, to, err := openAny(ctx, urls, func(ctx context.Context, to string) (net.Conn, error) { return dialURL(ctx, dial, to) })
		if err != nil {
			return nil, err
		}
		conn, err := w.over(ctx, raw, hub.Key, to)
		if err == nil {
			return conn, nil
		}
		raw.Close()
		if urls = slices.DeleteFunc(urls, func(u string) bool { return u == to }); len(urls) == 0 || ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", w.RelayURL(to), err)
		}
	}
}

// over makes the stream of an open connection.
func (w RelayWay) over(ctx context.Context, raw net.Conn, hub config.HubKey, to string) (net.Conn, error) {
	switch w {
	case RelayTCP:
		return raw, nil
	case RelayTLS:
		conn, _, err := secure(ctx, raw, hub, to, RelayProtocol)
		if err != nil {
			return nil, err
		}
		if conn.(*tls.Conn).ConnectionState().NegotiatedProtocol != RelayProtocol {
			return nil, errors.New("what ends TLS there does not speak " + RelayProtocol)
		}
		return conn, nil
	}
	conn, _, err := secure(ctx, raw, hub, to, httpProtocol)
	if err != nil {
		return nil, err
	}
	ws, err := upgradeTo(ctx, conn, to+RelayPath, RelaySubprotocol, nil)
	if err != nil {
		return nil, err
	}
	return Stream(ws), nil
}

// DialRelay opens a stream to a TURN server that is not a hub's, through a proxy if
// the environment names one. Under TLS its certificate has to be for its name, and one
// that this machine trusts. It may be called from any goroutine.
func DialRelay(ctx context.Context, dial DialFunc, r config.Relay) (net.Conn, error) {
	conn, err := DialTCP(ctx, dial, net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port))))
	if err != nil || r.Transport != config.RelayTLS {
		return conn, err
	}
	secured := tls.Client(conn, &tls.Config{ServerName: r.Host, MinVersion: tls.VersionTLS12, NextProtos: []string{RelayProtocol}})
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// httpProtocol is agreed on under TLS for WebSockets (ALPN).
const httpProtocol = "http/1.1"

// upgradeTo makes a WebSocket over a connection.
func upgradeTo(ctx context.Context, conn net.Conn, to, subprotocol string, header http.Header) (*websocket.Conn, error) {
	opened := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	d := websocket.Dialer{
		NetDialContext: opened, NetDialTLSContext: opened,
		HandshakeTimeout: dialTimeout, Subprotocols: []string{subprotocol},
		ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10,
	}
	ws, resp, err := d.DialContext(ctx, to, header)
	at, _, _ := strings.Cut(strings.TrimPrefix(to, "ws"), "/v1")
	switch {
	case errors.Is(err, websocket.ErrBadHandshake) && resp != nil:
		return nil, fmt.Errorf("ws%s answered %q: it is no p2ptun hub, or a proxy stands before it", at, resp.Status)
	case err != nil:
		return nil, fmt.Errorf("cannot reach the hub at ws%s: %w", at, err)
	case ws.Subprotocol() != subprotocol:
		ws.Close()
		return nil, fmt.Errorf("ws%s does not speak %s", at, subprotocol)
	}
	return ws, nil
}
