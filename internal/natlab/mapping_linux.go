package natlab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
)

// A Mapping is a NAT's memory of one internal endpoint (RFC 4787 section 4.1).
type Mapping struct {
	Internal, External netip.AddrPort
	// Remote is what the mapping depends on: invalid, an address with port
	// zero, or an address and port.
	Remote netip.AddrPort
}

// Mappings returns the live UDP mappings, in no order.
func (n *NAT) Mappings() ([]Mapping, error) {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	var all []Mapping
	err := n.transaction(func(r *ruleset) error {
		elements, err := r.conn.GetSetElements(r.mappings)
		if err != nil {
			return fmt.Errorf("natlab: mappings of %s: %w", n.ns.name, err)
		}
		for _, e := range elements {
			all = append(all, mappingOf(e, r.wan))
		}
		return nil
	})
	return all, err
}

// mappingOf reads an element of the table: each field of its key takes a
// multiple of four bytes.
func mappingOf(e nftables.SetElement, wan netip.Addr) Mapping {
	m := Mapping{
		Internal: endpointAt(e.Key),
		External: netip.AddrPortFrom(wan, binary.BigEndian.Uint16(e.Val)),
	}
	if len(e.Key) > 8 {
		m.Remote = endpointAt(e.Key[8:])
	}
	return m
}

func endpointAt(b []byte) netip.AddrPort {
	addr := netip.AddrFrom4([4]byte(b))
	if len(b) < 6 {
		return netip.AddrPortFrom(addr, 0)
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[4:]))
}
