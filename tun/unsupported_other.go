//go:build !linux

package tun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
)

var errUnsupported = fmt.Errorf("network interfaces on %s: %w", runtime.GOOS, errors.ErrUnsupported)

// Open is implemented on Linux only.
func Open(cfg Config) (*Interface, error) {
	if _, err := cfg.checked(); err != nil {
		return nil, err
	}
	return nil, errUnsupported
}

// SetMTU is implemented on Linux only.
func (*Interface) SetMTU([]netip.Addr, int) error { return errUnsupported }

// Restore is implemented on Linux only.
func (*Interface) Restore() (int, error) { return 0, errUnsupported }

// Check is implemented on Linux only.
func Check(string) error { return errUnsupported }

// CheckConflicts is implemented on Linux only.
func CheckConflicts([]netip.Prefix, string) error { return errUnsupported }

// LocalAddrs is implemented on Linux only.
func LocalAddrs() ([]netip.Addr, error) { return nil, errUnsupported }

// OverlayPrefixes is implemented on Linux only.
func OverlayPrefixes() ([]netip.Prefix, error) { return nil, errUnsupported }

// LANs is implemented on Linux only.
func LANs() ([]LAN, error) { return nil, errUnsupported }

// Watch is implemented on Linux only.
func Watch(context.Context, *slog.Logger, *Interface, func([]netip.Addr, string)) error {
	return errUnsupported
}
