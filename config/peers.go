package config

import (
	"errors"
	"net/netip"
	"time"
)

// MaxKnownAddresses is how many addresses are kept of one peer.
const MaxKnownAddresses = 4

// KnownPeer is where another node was reached last, for a start that does not wait for
// the hub.
type KnownPeer struct {
	Node      NodeKey        `json:"node"`
	Epoch     uint64         `json:"epoch,omitempty"`  // of its run, as it signed it; 0: not known
	Active    bool           `json:"active,omitempty"` // there was a tunnel to it
	Addresses []KnownAddress `json:"addresses"`        // newest first, at most MaxKnownAddresses
}

// KnownAddress is an address that worked.
type KnownAddress struct {
	Address netip.AddrPort `json:"address"`
	Relayed bool           `json:"relayed,omitempty"` // it is the peer's at a relay
	Seen    time.Time      `json:"seen"`              // when it worked last
}

// LoadPeers reads where peers were. None is no error.
func (d *Dir) LoadPeers() ([]KnownPeer, error) {
	var peers []KnownPeer
	if _, err := d.load(peersFile, &peers); err != nil {
		return nil, err
	}
	for _, p := range peers {
		if len(p.Addresses) > MaxKnownAddresses {
			return nil, d.damaged(peersFile, errors.New("a peer has more addresses than any"))
		}
	}
	return peers, nil
}

// SavePeers writes them.
func (d *Dir) SavePeers(peers []KnownPeer) error { return d.save(peersFile, peers) }
