package udpbatch

import "net/netip"

// Batch is what one read gave. It belongs to whoever got it from ReadBatch,
// until Release.
type Batch struct {
	messages []message // not yet taken
	all      [Slots]message
	sys      batchSys
}

// Slots is how many system messages a read takes at most. Each is a datagram,
// or up to 64 KiB of joined ones.
const Slots = 32

// slotSize is more than the largest UDP payload, 65,527 bytes over IPv6.
const slotSize = 64 << 10

// message is a datagram, or a run of them from one sender.
type message struct {
	data    []byte
	segment int // all are of this size, but the last may be shorter; 0: it is one
	from    netip.AddrPort
}

// Next takes the next datagram. Its bytes are the caller's to change, until
// Release. Datagrams that were joined lie one after the other in memory.
func (b *Batch) Next() (datagram []byte, from netip.AddrPort, ok bool) {
	if len(b.messages) == 0 {
		return nil, from, false
	}
	m := &b.messages[0]
	datagram, from = m.data, m.from
	if m.segment > 0 && m.segment < len(datagram) {
		datagram, m.data = datagram[:m.segment], datagram[m.segment:]
	} else {
		b.messages = b.messages[1:]
	}
	return datagram, from, true
}
