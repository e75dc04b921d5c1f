package tunnel

import "net/netip"

// smallSize passes on every path there is, in bytes above UDP. Of larger
// packets a peer's session is told.
const smallSize = 1200

// Probe sends one datagram as SendTo does, but never in fragments. The error is
// syscall.EMSGSIZE for one that is longer than the interface carries.
func (b *Bind) Probe(p []byte, local netip.Addr, to netip.AddrPort) error {
	to = b.nat64.Out(canonical(to))
	s, err := b.socketFor(to.Addr())
	if err != nil {
		return err
	}
	w := sendings.Get().(*sending)
	defer sendings.Put(w)
	w.run.Reset(to)
	w.run.From(b.sources.get(canonicalAddr(local)).controlFor(to.Addr()))
	w.run.Append(nil, p)
	return s.WriteWhole(w.run)
}

// noteSize tells the session of packets that not every path carries.
func (e *Endpoint) noteSize(bufs [][]byte) {
	if e.onLarge == nil {
		return
	}
	for _, b := range bufs {
		if len(b) > smallSize {
			e.onLarge()
			return
		}
	}
}
