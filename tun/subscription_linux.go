package tun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// subscription is the kernel's stream of link, address and route changes. Its
// socket belongs to the network namespace of the thread that opened it.
type subscription struct {
	sock *nl.NetlinkSocket
	own  int // interface index
}

// subscribe opens the stream; own is the index of our interface.
func subscribe(own int) (source, error) {
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to network changes: %w", err)
	}
	return &subscription{sock, own}, nil
}

// Receive waits for a message. What it says does not matter, but that it is of
// our interface: whoever is told looks for himself. So an overflow, which loses
// messages and would end the library's own subscriptions, is no more than another
// change.
func (s *subscription) Receive() (own bool, err error) {
	msgs, _, err := s.sock.Receive()
	if errors.Is(err, unix.ENOBUFS) {
		return true, nil
	}
	return slices.ContainsFunc(msgs, s.harms), err
}

func (s *subscription) Close() { s.sock.Close() }

// harms says whether a message may mean that our interface has lost something:
// it was down or up, or a route is gone. With an address goes its local route; of
// the IPv4 routes that go with that, or with the interface, the kernel does not
// tell.
func (s *subscription) harms(m syscall.NetlinkMessage) bool {
	own := func(index []byte) bool {
		return len(index) >= 4 && int(binary.NativeEndian.Uint32(index)) == s.own
	}
	switch m.Header.Type {
	case unix.RTM_NEWLINK:
		const index = 4 // in struct ifinfomsg
		return len(m.Data) > index && own(m.Data[index:])
	case unix.RTM_DELROUTE:
		if len(m.Data) < unix.SizeofRtMsg {
			return false
		}
		attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofRtMsg:])
		return err == nil && slices.ContainsFunc(attrs, func(a syscall.NetlinkRouteAttr) bool {
			return a.Attr.Type == unix.RTA_OIF && own(a.Value)
		})
	}
	return false
}
