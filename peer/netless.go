package peer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pion/transport/v5"
)

// netless is the transport.Net for pion's agent and TURN client: they are
// given every address and socket, so it parses literal addresses and knows no
// interfaces. Calling another method is a mistake, and panics.
type netless struct{ transport.Net }

func (netless) Interfaces() ([]*transport.Interface, error) { return nil, nil }

func (netless) ResolveUDPAddr(_, address string) (*net.UDPAddr, error) {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("resolve %q: %w", address, errors.ErrUnsupported)
	}
	return net.UDPAddrFromAddrPort(a), nil
}
