package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// listen opens the port of signaling and of the relay over streams, under TLS unless
// there is none.
func (h *Hub) listen(addr string, certs *certificates) error {
	l, err := listenTCP(addr)
	if err != nil {
		return err
	}
	h.listener = &switchboard{Listener: h.gate.guard(l), hub: h, http: make(chan net.Conn), closed: make(chan struct{})}
	if certs != nil {
		h.listener.tls = certs.tlsConfig()
	}
	return nil
}

func listenTCP(addr string) (net.Listener, error) {
	config := net.ListenConfig{Control: signaling.Burst}
	l, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, listenError("signaling (TCP)", addr, "--listen", err)
	}
	return l, nil
}

// listenError says in one line what is in the way, and how round it.
func listenError(what, addr, flag string, err error) error {
	err = fmt.Errorf("cannot listen for %s on %s: %w", what, addr, reason(err))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return config.WithHint(err, "another program has this port: stop it, or choose another with "+flag)
	case errors.Is(err, syscall.EACCES):
		return config.WithHint(err, "ports below 1024 need root or CAP_NET_BIND_SERVICE: or choose a higher one with "+flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return config.WithHint(err, "this machine does not have that address: leave it out of "+flag)
	}
	return config.WithHint(err, flag+" takes [IP]:PORT")
}

// reason drops the layers of a net.OpError that repeat the address.
func reason(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// parseListen splits [IP]:PORT; the address is invalid where none is given.
func parseListen(s string) (netip.Addr, uint16, error) {
	host, portText, err := net.SplitHostPort(s)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("port %q: want a number up to 65535", portText)
	}
	if host == "" {
		return netip.Addr{}, uint16(port), nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	if addr.IsUnspecified() {
		addr = netip.Addr{}
	}
	return addr.Unmap(), uint16(port), nil
}
