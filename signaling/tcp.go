package signaling

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// DialFunc opens a connection, as [net.Dialer.DialContext] does, from any goroutine.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// DialTCP opens a TCP connection to HOST:PORT, through the HTTP proxy that the
// environment names for HTTPS (HTTPS_PROXY, but for what is in NO_PROXY), if it names
// one. It may be called from any goroutine.
func DialTCP(ctx context.Context, dial DialFunc, to string) (net.Conn, error) {
	return dialTCP(ctx, dial, "https", to)
}

// dialTCP opens a connection for a URL of the scheme http or https.
func dialTCP(ctx context.Context, dial DialFunc, scheme, to string) (net.Conn, error) {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: scheme, Host: to}})
	if err != nil {
		return nil, config.WithHint(fmt.Errorf("the environment's proxy: %w", err), proxyHint)
	}
	if proxy == nil {
		return dial(ctx, "tcp", to)
	}
	conn, err := throughProxy(ctx, dial, proxy, to)
	if err != nil {
		return nil, fmt.Errorf("through the proxy %s: %w", proxy.Redacted(), err)
	}
	return &proxied{conn}, nil
}

const proxyHint = "HTTPS_PROXY wants http://[USER:PASSWORD@]HOST:PORT; NO_PROXY names what needs none"

// proxied is a connection that a proxy passes on: its ends are the proxy's.
type proxied struct{ net.Conn }

// NetConn is the connection to the proxy.
func (c *proxied) NetConn() net.Conn { return c.Conn }

// throughProxy has an HTTP proxy connect (RFC 9110 section 9.3.6).
func throughProxy(ctx context.Context, dial DialFunc, proxy *url.URL, to string) (conn net.Conn, err error) {
	port := map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	if port == "" {
		return nil, config.WithHint(fmt.Errorf("it is no HTTP proxy: %q", proxy.Scheme), proxyHint)
	}
	if p := proxy.Port(); p != "" {
		port = p
	}
	raw, err := dial(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	conn = raw
	defer context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })()
	if proxy.Scheme == "https" {
		t := tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = t
	}
	return conn, connectVia(conn, proxy.User, to)
}

// maxProxyAnswer bounds the head of a proxy's answer, in bytes.
const maxProxyAnswer = 16 << 10

func connectVia(conn net.Conn, user *url.Userinfo, to string) error {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: to}, Host: to, Header: http.Header{"User-Agent": {"p2ptun"}}}
	if user != nil {
		password, _ := user.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	r := bufio.NewReader(&bounded{conn, maxProxyAnswer})
	answer, err := http.ReadResponse(r, req)
	switch {
	case err != nil:
		return fmt.Errorf("its answer: %w", err)
	case answer.StatusCode == http.StatusProxyAuthRequired:
		return fmt.Errorf("it answers %q: HTTPS_PROXY wants http://USER:PASSWORD@HOST:PORT", answer.Status)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("it answers %q", answer.Status)
	case r.Buffered() > 0: // whoever is asked speaks second
		return errors.New("it says more than was asked for")
	}
	return nil
}

// bounded is a Reader of so many bytes at most.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("too long")
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
