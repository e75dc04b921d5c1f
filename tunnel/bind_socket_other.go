//go:build !linux

package tunnel

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// setOptions leaves the system's defaults.
func setOptions(string, syscall.RawConn, bool) error { return nil }

// supportsGSO reports that sends are not cut by the kernel here.
func supportsGSO(*net.UDPConn) bool { return false }

func (s *socket) setMark(uint32) error { return errors.ErrUnsupported }

// readControl tells nothing: local addresses are not asked for here.
func readControl([]byte) arrival { return arrival{} }

// sourceControl pins nothing: the kernel chooses.
func sourceControl(netip.Addr, int) []byte { return nil }

func appendSegment(oob []byte, _ int) []byte { return oob }
