package udpbatch

import "net/netip"

// Arrival is what the datagrams of one ReadInto have in common.
type Arrival struct {
	From      netip.AddrPort
	Local     netip.Addr // the address they came to; zero: not told
	Interface int        // index of the interface they came on; 0: not told
}
