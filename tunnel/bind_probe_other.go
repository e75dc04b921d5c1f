//go:build !linux

package tunnel

import (
	"errors"
	"net/netip"
)

// probe sends nothing: datagrams cannot be kept whole here.
func (s *socket) probe([]byte, netip.AddrPort, []byte) error { return errors.ErrUnsupported }
