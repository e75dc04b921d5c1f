package signaling

import (
	"errors"
	"net/netip"

	"github.com/p2ptun/p2ptun/config"
)

// Install returns the statements that make a machine a member, an admin, and
// nobody's but the network key's to change, to be published together: under a
// name like the one in rec, and an address of the prefix that nobody has or had.
// The network's hub stays, or is hub where none is known.
func (r *Roster) Install(a Admin, rec Record, prefix netip.Prefix, hub config.Hub) ([][]byte, error) {
	used := r.inUse(r.records)
	if !used.place(&rec, prefix) {
		return nil, errors.New("the network is full")
	}
	rec.Sequence = 1
	signed, err := a.Record(rec)
	if err != nil {
		return nil, err
	}
	delegation, err := a.Delegate(rec.Node)
	if err != nil {
		return nil, err
	}
	list := [][]byte{delegation.Bytes(), signed.Bytes()}
	if r.hubs != nil {
		return list, nil
	}
	hubs, err := r.SetHubs(a, []config.Hub{hub})
	return append(list, hubs), err
}
