package tunnel

import (
	"context"
	"errors"
	"fmt"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// The network's key leaves a machine, and comes to another, in a
// config.Backup; both work while the node runs and while it does not.

// ExportKey is what the network can be brought back with. It fails with
// signaling.ErrNetworkKey where this machine does not hold the key. It is safe
// for concurrent use while the node runs.
func (n *Node) ExportKey(ctx context.Context) (b *config.Backup, err error) {
	err = n.do(ctx, func() error {
		b, err = backup(n.node, n.roster)
		return err
	})
	return b, err
}

// ExportStored is ExportKey of a node that does not run.
func ExportStored(dir *config.Dir, node *config.Node) (*config.Backup, error) {
	known, _, err := loadRoster(dir, node)
	if err != nil {
		return nil, err
	}
	return backup(node, known.roster)
}

func backup(node *config.Node, r *signaling.Roster) (*config.Backup, error) {
	if node.Creator == nil {
		return nil, signaling.ErrNetworkKey
	}
	b := &config.Backup{
		Key: *node.Creator, NetworkName: node.NetworkName, Prefix: node.Prefix, Discovery: node.Discovery,
		Hub: node.Hub, Access: node.Access,
	}
	for _, s := range r.Statements() {
		b.Statements = append(b.Statements, s.Bytes())
	}
	return b, nil
}

// ImportKey makes this machine, a member of the backup's network, hold its key:
// an admin that no delegate can throw out. What the backup knows of the network
// is taken, too. It is safe for concurrent use while the node runs.
func (n *Node) ImportKey(ctx context.Context, b *config.Backup) error {
	return n.do(ctx, func() error {
		if err := mayImport(n.node, b); err != nil {
			return err
		}
		n.learn(b.Statements, false)
		updated, statements, err := holdKey(n.node, n.roster, b)
		if err != nil {
			return err
		}
		if err := n.cfg.Dir.SaveNode(updated); err != nil {
			return err
		}
		*n.node = *updated
		n.keeper = nil // the present one signs as a delegate
		if err := n.openKeeper(); err != nil {
			return err
		}
		return n.issue(statements)
	})
}

// ImportStored is ImportKey of a node that does not run.
func ImportStored(dir *config.Dir, node *config.Node, b *config.Backup) error {
	if err := mayImport(node, b); err != nil {
		return err
	}
	known, _, err := loadRoster(dir, node)
	if err != nil {
		return err
	}
	known.roster.Merge(b.Statements...)
	updated, statements, err := holdKey(node, known.roster, b)
	if err != nil {
		return err
	}
	known.roster.Merge(statements...)
	if proof := known.roster.Proof(node.Key.Public()); len(proof) > 0 {
		updated.Proof = proof
	}
	return errors.Join(dir.SaveMembers(known.members()), dir.SaveNode(updated))
}

// mayImport refuses a backup that is of no use to the node.
func mayImport(node *config.Node, b *config.Backup) error {
	switch {
	case b.Key.Public() != node.Network:
		return config.WithHint(fmt.Errorf("the backup is of the network %s (%v), this machine belongs to another, %s",
			b.NetworkName, b.Key.Public().ID(), node.Network.ID()), "a second network needs its own --state, --socket and --interface")
	case !node.Joined():
		return config.WithHint(errors.New("this machine still waits to be admitted to the network"),
			"`p2ptun leave` gives that up; then the backup makes it a member by itself")
	}
	return nil
}

// holdKey is the node with the key, and what it then says to be an admin.
func holdKey(node *config.Node, r *signaling.Roster, b *config.Backup) (*config.Node, [][]byte, error) {
	self := node.Key.Public()
	if r.IsRevoked(self) {
		return nil, nil, config.WithHint(errors.New("an admin has removed this machine from the network, which counts for ever"),
			"`p2ptun leave` forgets its keys; then the backup makes it a member anew")
	}
	statements, err := r.Delegate(signaling.NetworkAdmin(b.Key), self)
	if err != nil {
		return nil, nil, err
	}
	updated := *node
	updated.Creator = &b.Key
	if b.Hub.Key == node.Hub.Key {
		updated.Access = b.Access
	}
	return &updated, statements, nil
}

// CheckStored says what would keep a node that does not run from its network for
// good: that it was thrown out.
func CheckStored(dir *config.Dir, node *config.Node) error {
	known, _, err := loadRoster(dir, node)
	if err != nil {
		return err
	}
	if known.roster.IsRevoked(node.Key.Public()) {
		return errRevoked
	}
	return nil
}

// Restore makes a member, and holder of the network's key, of a machine that is
// in no network, under a name like the one given. The directory must be empty.
func Restore(dir *config.Dir, b *config.Backup, name string) (*config.Node, error) {
	node, err := newNode(name, b.Key.Public(), b.Hub)
	if err != nil {
		return nil, err
	}
	r := signaling.NewRoster(node.Network)
	r.Merge(b.Statements...)
	statements, err := r.Install(signaling.NetworkAdmin(b.Key), signaling.Record{
		Node: node.Key.Public(), Name: name, WireGuard: node.WireGuard.Public(), Sealing: node.Sealing.Public(),
	}, b.Prefix, b.Hub)
	if err != nil {
		return nil, err
	}
	r.Merge(statements...)
	rec, ok := r.Get(node.Key.Public())
	if !ok {
		return nil, errors.New("the backup makes no member of this machine")
	}
	node.Name, node.Proof, node.Hub = rec.Name, r.Proof(rec.Node), r.Hubs().Hubs[0]
	node.NetworkName, node.Prefix, node.Discovery = b.NetworkName, b.Prefix, b.Discovery
	node.Creator, node.Access = &b.Key, b.Access
	known := &knownNetwork{roster: r}
	if err := dir.SaveMembers(known.members()); err != nil {
		return nil, err
	}
	return node, dir.SaveNode(node)
}

// knownNetwork is what a state directory knows of the network.
type knownNetwork struct {
	roster   *signaling.Roster
	sequence uint64 // the hub's
}

// loadRoster reads what is remembered of the network; the change says what of
// it is not valid.
func loadRoster(dir *config.Dir, node *config.Node) (*knownNetwork, signaling.Change, error) {
	k := &knownNetwork{roster: signaling.NewRoster(node.Network)}
	stored, err := dir.LoadMembers()
	if err != nil {
		return nil, signaling.Change{}, err
	}
	k.sequence = stored.Sequence
	return k, k.roster.Merge(append(stored.Statements, node.Proof...)...), nil
}

// members is what to store of it.
func (k *knownNetwork) members() config.Members {
	m := config.Members{Sequence: k.sequence}
	for _, s := range k.roster.Statements() {
		m.Statements = append(m.Statements, s.Bytes())
	}
	return m
}
