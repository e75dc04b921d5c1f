//go:build !linux

package tunnel

import (
	"errors"

	"github.com/p2ptun/p2ptun/tun"
)

// openLAN is implemented on Linux only.
func openLAN([]tun.LAN) ([]lanSocket, error) { return nil, errors.ErrUnsupported }
