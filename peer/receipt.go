package peer

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

// A receipt stands in each check of our own and in each answer to one: how long
// ago the sender of it last heard data of the tunnel on this very pair, and
// whether it is in doubt about the path that it uses. So each side learns by which
// pairs its data arrives: a pair may answer checks and carry no data.
//
//	|D|   milliseconds since data was heard, 31 bits; all ones: never   |
//
// D: the sender does not hear the answer to its data. The attribute comes first of
// all, to be told in place, and is from the range that is ignored by who does not
// know it (RFC 8489 section 14).
type receipt struct {
	age   time.Duration // since data was heard; negative: never
	doubt bool
}

const (
	attrReceipt  = 0xC0DE
	receiptDoubt = 1 << 31
	receiptNever = receiptDoubt - 1
)

// AddTo adds the receipt to a message.
func (r receipt) AddTo(m *stun.Message) error {
	v := uint32(receiptNever)
	if r.age >= 0 {
		v = uint32(min(r.age.Milliseconds(), receiptNever-1))
	}
	if r.doubt {
		v |= receiptDoubt
	}
	m.Add(attrReceipt, binary.BigEndian.AppendUint32(nil, v))
	return nil
}

// GetFrom reads the receipt of a message.
func (r *receipt) GetFrom(m *stun.Message) error {
	b, err := m.Get(attrReceipt)
	if err != nil {
		return err
	}
	if len(b) != 4 {
		return stun.ErrAttributeSizeInvalid
	}
	v := binary.BigEndian.Uint32(b)
	*r = receipt{age: -1, doubt: v&receiptDoubt != 0}
	if v &= receiptNever; v != receiptNever {
		r.age = time.Duration(v) * time.Millisecond
	}
	return nil
}

// receipt is what is to be said on the way to and from an address.
func (c *conn) receipt(with netip.AddrPort) receipt {
	r := receipt{age: -1, doubt: c.checks.doubts()}
	if at := c.checks.heard(c.relay, with); !at.IsZero() {
		r.age = max(time.Since(at), 0)
	}
	return r
}

// ask sends a check of our own, which the agent knows nothing of; its answer makes
// the pair valid. It is also the triggered check of RFC 8445 section 7.3.1.4 where
// the agent sends none.
func (c *conn) ask(to netip.AddrPort, role ice.AttrControl) {
	m, err := c.request(role, c.receipt(to))
	if err != nil {
		c.mux.drops.unsent.Add(1)
		return
	}
	c.mux.sent(pairKey{c, to}, m.TransactionID, nil)
	c.send(m.Raw, to)
	c.checks.left(pairKey{c, to})
}

// answer answers a check that the agent is not shown: one with padding, for which it
// has no buffer, or with a receipt, of which it knows nothing.
func (c *conn) answer(b []byte, from netip.AddrPort) {
	s, m := c.checks, stun.Message{Raw: bytes.Clone(b)}
	remote, _ := s.credentials()
	if m.Decode() != nil || string(stunUsername(b)) != s.ufrag+":"+remote ||
		stun.NewShortTermIntegrity(s.pwd).Check(&m) != nil {
		c.mux.drops.mismatched.Add(1)
		return
	}
	s.source(c.relay, from) // before the answer: then the peer may send data
	setters := []stun.Setter{
		stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())},
	}
	var r receipt
	receipted := r.GetFrom(&m) == nil
	if receipted {
		setters = append(setters, c.receipt(from))
	}
	response, err := stun.Build(append(setters, stun.NewShortTermIntegrity(s.pwd), stun.Fingerprint)...)
	if err != nil {
		c.mux.drops.unsent.Add(1)
		return
	}
	c.send(response.Raw, from)
	if !receipted {
		return
	}
	k, now := pairKey{c, from}, time.Now()
	s.reported(k, r, now)
	var priority ice.PriorityAttr
	_ = priority.GetFrom(&m) // without it: 0, the worst
	if check, role := s.asked(k, uint32(priority), now, now); check {
		c.ask(from, role)
	}
}
