package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/p2ptun/p2ptun/config"
)

// socketFlags find the running node.
type socketFlags struct{ socket, iface, file string }

func (s *socketFlags) add(fs *flag.FlagSet) {
	fs.StringVar(&s.socket, "socket", "", "`PATH` of the node's control socket (default /run/p2ptun/<interface>.sock)")
	fs.StringVar(&s.iface, "interface", "", "`NAME` of the node's interface (default "+config.DefaultInterface+")")
	fs.StringVar(&s.file, "config", config.DefaultFile, "config `FILE` of the node, for what no flag says")
}

// path is the socket by the flags, else by the config file, so that a node
// that `up` has found there is found again.
func (s *socketFlags) path() (string, error) {
	switch {
	case s.socket != "":
		return s.socket, nil
	case s.iface != "":
		return config.DefaultSocket(s.iface), nil
	}
	f, err := config.LoadFile(s.file)
	switch {
	case err != nil:
		return "", err
	case f.Socket != "":
		return f.Socket, nil
	case f.Interface != "":
		return config.DefaultSocket(f.Interface), nil
	}
	return config.DefaultSocket(config.DefaultInterface), nil
}

// errNotRunning says that no node answers on the socket.
var errNotRunning = errors.New("p2ptun is not running")

// request asks the node on a socket; the caller closes the body.
func request(ctx context.Context, socket, method, path string, body any) (io.ReadCloser, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://p2ptun"+path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: socketTransport(socket)}).Do(r)
	if err != nil {
		return nil, requestError(socket, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	refusal := new(controlError)
	if err := json.NewDecoder(resp.Body).Decode(refusal); err != nil || refusal.Text == "" {
		return nil, fmt.Errorf("what listens on %s is not p2ptun: it answers %s", socket, resp.Status)
	}
	return nil, refusal
}

func socketTransport(socket string) *http.Transport {
	var d net.Dialer
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}
}

func requestError(socket string, err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // without the made-up address
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return config.WithHint(fmt.Errorf("%w (no node answers on %s)", errNotRunning, socket), "start it with `p2ptun up`")
	case errors.Is(err, fs.ErrPermission):
		return config.WithHint(fmt.Errorf("no permission to talk to the node on %s", socket), "run as root, or as the user that runs the node")
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the node on %s has stopped", socket)
	}
	return fmt.Errorf("the node on %s: %w", socket, err)
}

// ask decodes the node's answer into v.
func ask(ctx context.Context, socket, method, path string, body, v any) error {
	r, err := request(ctx, socket, method, path, body)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := json.NewDecoder(r).Decode(v); err != nil {
		return fmt.Errorf("the node's answer: %w", err)
	}
	return nil
}
