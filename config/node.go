package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Node is what a machine knows of itself and of the network it belongs to, or
// is about to join.
type Node struct {
	Key       NodePrivateKey
	WireGuard WireGuardPrivateKey
	Sealing   SealingPrivateKey
	Name      string // as the record has it; while joining, as wanted
	Port      uint16 // UDP, drawn once and kept
	Boot      uint32 // starts so far, or the time of the last: it only grows

	Confirmed time.Time // no earlier time is believed; zero: any is

	Network     NetworkKey
	NetworkName string
	Prefix      netip.Prefix // IPv4
	Discovery   [32]byte     // of the network, for beacons
	Hub         Hub
	Proof       [][]byte // signed statements that make it a member; none while joining
	Invite      *Invite  // while joining

	Creator *NetworkPrivateKey // on the machine that made the network, and where its key was brought
	Access  []byte             // the hub's access key, there
}

// Format says which node, whatever the verb, and none of its secrets.
func (n Node) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "node %q of network %v", n.Name, n.Network.ID())
}

// Joined says whether the node is a member.
func (n *Node) Joined() bool { return len(n.Proof) > 0 }

// nodeJSON is a Node in its file.
type nodeJSON struct {
	NodeKey      []byte       `json:"node_key"`
	WireGuardKey []byte       `json:"wireguard_key"`
	SealingKey   []byte       `json:"sealing_key"`
	Name         string       `json:"name"`
	Port         uint16       `json:"port"`
	Boot         uint32       `json:"boot,omitempty"`
	Confirmed    time.Time    `json:"confirmed,omitzero"`
	Network      NetworkKey   `json:"network"`
	NetworkName  string       `json:"network_name,omitempty"`
	Prefix       netip.Prefix `json:"prefix,omitzero"`
	Discovery    []byte       `json:"discovery_key,omitempty"`
	HubURLs      []string     `json:"hub_urls"`
	HubKey       HubKey       `json:"hub_key"`
	Proof        [][]byte     `json:"proof,omitempty"`
	Invite       string       `json:"invite,omitempty"`
	NetworkSeed  []byte       `json:"network_key_secret,omitempty"`
	Access       []byte       `json:"hub_access,omitempty"`
}

// LoadNode reads the node, or returns nil if the directory holds none.
func (d *Dir) LoadNode() (*Node, error) { return d.loadNode(nodeFile) }

func (d *Dir) loadNode(name string) (*Node, error) {
	var f nodeJSON
	found, err := d.load(name, &f)
	if err != nil || !found {
		return nil, err
	}
	n := &Node{
		Name: f.Name, Port: f.Port, Boot: f.Boot, Confirmed: f.Confirmed, Network: f.Network, NetworkName: f.NetworkName,
		Prefix: f.Prefix, Hub: Hub{URLs: f.HubURLs, Key: f.HubKey}, Proof: f.Proof, Access: f.Access,
	}
	err = cmp.Or(f.check(), n.Key.SetSeed(f.NodeKey), n.WireGuard.SetSeed(f.WireGuardKey), n.Sealing.SetSeed(f.SealingKey))
	if f.NetworkSeed != nil {
		n.Creator = new(NetworkPrivateKey)
		err = cmp.Or(err, n.Creator.SetSeed(f.NetworkSeed))
	}
	if f.Invite != "" {
		i, ierr := ParseInvite(f.Invite)
		n.Invite, err = &i, cmp.Or(err, ierr)
	}
	if err != nil {
		return nil, d.damaged(name, err)
	}
	copy(n.Discovery[:], f.Discovery)
	return n, nil
}

// check finds what is missing or cut short, but for the node's own keys.
func (f *nodeJSON) check() error {
	switch {
	case f.Network.IsZero():
		return errors.New("the network's key is missing")
	case len(f.HubURLs) == 0 || f.HubKey.IsZero():
		return errors.New("the hub is missing")
	case len(f.Discovery) != 0 && len(f.Discovery) != len(Node{}.Discovery):
		return errors.New("the discovery key is cut short")
	case len(f.Access) != 0 && len(f.Access) != AccessSize:
		return errors.New("the hub's access key is cut short")
	case len(f.Proof) == 0 && f.Invite == "":
		return errors.New("there is neither a proof of membership nor an invite")
	case len(f.Proof) > 0 && !f.Prefix.Addr().Is4():
		return errors.New("the network's prefix is missing")
	}
	for _, u := range f.HubURLs {
		if err := CheckHubURL(u); err != nil {
			return err
		}
	}
	return nil
}

// SaveNode writes the node.
func (d *Dir) SaveNode(n *Node) error { return d.saveNode(nodeFile, n) }

func (d *Dir) saveNode(name string, n *Node) error {
	f := nodeJSON{
		NodeKey: n.Key.Seed(), WireGuardKey: n.WireGuard.Seed(), SealingKey: n.Sealing.Seed(),
		Name: n.Name, Port: n.Port, Boot: n.Boot, Confirmed: n.Confirmed.UTC(), Network: n.Network, NetworkName: n.NetworkName,
		Prefix: n.Prefix, Discovery: n.Discovery[:], HubURLs: n.Hub.URLs, HubKey: n.Hub.Key,
		Proof: n.Proof, Access: n.Access,
	}
	if n.Creator != nil {
		f.NetworkSeed = n.Creator.Seed()
	}
	if n.Invite != nil {
		f.Invite = n.Invite.Token()
	}
	return d.save(name, f)
}

// Forget removes all that the directory holds of the network, keys included.
func (d *Dir) Forget() error {
	return d.inTurn(d.removal(membersFile), d.removal(invitesFile), d.removal(keysFile), d.removal(peersFile), d.removal(earlierFile), d.removal(nodeFile))
}

// Members is what a node remembers of its network between runs.
type Members struct {
	Statements [][]byte `json:"statements"` // signed by admins
	Sequence   uint64   `json:"sequence"`   // the hub's, newest taken
}

// LoadMembers reads the members; none is no error.
func (d *Dir) LoadMembers() (Members, error) {
	var m Members
	_, err := d.load(membersFile, &m)
	return m, err
}

// SaveMembers writes the members.
func (d *Dir) SaveMembers(m Members) error { return d.save(membersFile, m) }

// KeptInvite is an invite on the node that keeps it.
type KeptInvite struct {
	Secret        []byte        `json:"secret"`
	Created       time.Time     `json:"created"`
	Expires       time.Time     `json:"expires"`
	Uses          int           `json:"uses"` // how many machines may join with it
	Tags          []string      `json:"tags,omitempty"`
	Replaces      NodeKey       `json:"replaces,omitzero"`        // the machine takes this one's name and address
	MemberExpires time.Duration `json:"member_expires,omitempty"` // nanoseconds after joining; 0: never
	Revoked       bool          `json:"revoked,omitempty"`
	From          NodeKey       `json:"from,omitzero"` // the admin that made it, if it was another
	Admitted      []Admission   `json:"admitted,omitempty"`
}

// Format hides the secret from every verb of package fmt.
func (i KeptInvite) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "kept invite, expires %v", i.Expires) }

// LogValue hides the secret from package slog.
func (i KeptInvite) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(i)) }

// Admission is one machine that an invite let in. It is written before the
// machine is told, so that a crash never counts a use twice or forgets one.
type Admission struct {
	Node       NodeKey `json:"node"`
	Record     []byte  `json:"record"`               // signed
	Revocation []byte  `json:"revocation,omitempty"` // signed, of the machine that it replaces
}

// LoadInvites reads the invites this node keeps.
func (d *Dir) LoadInvites() ([]*KeptInvite, error) {
	var invites []*KeptInvite
	if _, err := d.load(invitesFile, &invites); err != nil {
		return nil, err
	}
	for _, i := range invites {
		if i == nil || len(i.Secret) != SecretSize {
			return nil, d.damaged(invitesFile, errors.New("an invite has no secret"))
		}
	}
	return invites, nil
}

// SaveInvites writes them.
func (d *Dir) SaveInvites(invites []*KeptInvite) error { return d.save(invitesFile, invites) }
