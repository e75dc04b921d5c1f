package tunnel

import (
	"fmt"
	"net/netip"
)

// SendJoined sends datagrams of one size, but for the last, which may be
// shorter, in one piece that the kernel cuts. It fails with
// errors.ErrUnsupported where the kernel does not.
func (b *Bind) SendJoined(list [][]byte, to netip.AddrPort) error {
	to = b.nat64.Out(canonical(to))
	s, err := b.socketFor(to.Addr())
	if err != nil {
		return err
	}
	w := sendings.Get().(*sending)
	defer sendings.Put(w)
	w.run.Reset(to)
	if n := w.fill(list, 0); n < len(list) {
		return fmt.Errorf("send %d datagrams joined: no more than %d go", len(list), n)
	}
	return s.WriteJoined(w.run)
}

// SetJoining says whether what is sent to a family of addresses may be joined.
func (b *Bind) SetJoining(ipv4, may bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ipv4 {
		b.apart.v4 = !may
	} else {
		b.apart.v6 = !may
	}
	b.applyJoining()
}

// applyJoining brings the sockets in line with apart: what is for IPv4 leaves over IPv6
// where there is a NAT64. The caller holds mu.
func (b *Bind) applyJoining() {
	if s := b.v4.Load(); s != nil {
		s.SetGSO(!b.apart.v4)
	}
	if s := b.v6.Load(); s != nil {
		s.SetGSO(!b.apart.v6 && !(b.apart.v4 && b.nat64.Prefix().IsValid()))
	}
}

// Joining says whether datagrams leave joined, or why they do not.
func (b *Bind) Joining() (on bool, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.gso:
		return false, "switched off"
	case b.apart.v4 || b.apart.v6:
		return false, "the network loses datagrams that leave joined"
	}
	for _, s := range []*socket{b.v4.Load(), b.v6.Load()} {
		if s != nil && !s.GSO() {
			return false, "the kernel or the network card cannot cut joined datagrams"
		}
	}
	return true, ""
}
