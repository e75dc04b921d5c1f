package tunnel

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// What admins do. All of it is safe for concurrent use while the node runs, and
// durable here when it returns; members that are reachable know within a moment,
// the others when they come.

// Invite makes an invite and opens it at the hub.
func (n *Node) Invite(ctx context.Context, o signaling.InviteOptions) (token string, err error) {
	err = n.do(ctx, func() error {
		if n.keeper == nil {
			return errNotAdmin
		}
		i, err := n.keeper.Invite(n.now(), o)
		if err != nil {
			return err
		}
		n.sendTickets()
		token = i.Token()
		return nil
	})
	return token, err
}

// Invites lists the invites that this machine keeps, the newest first.
func (n *Node) Invites(ctx context.Context) (list []signaling.InviteInfo, err error) {
	err = n.do(ctx, func() error {
		if n.keeper == nil {
			return errNotAdmin
		}
		list = n.keeper.List(n.now())
		return nil
	})
	return list, err
}

// RevokeInvite ends an invite that this machine keeps. Members stay.
func (n *Node) RevokeInvite(ctx context.Context, id string) error {
	return n.do(ctx, func() error {
		if n.keeper == nil {
			return errNotAdmin
		}
		if err := n.keeper.RevokeInvite(id); err != nil {
			return err
		}
		n.sendTickets()
		return nil
	})
}

// Revoked is what became of a node and, if it was an admin, of what it signed.
type Revoked struct {
	Name string   `json:"name"`
	Kept []string `json:"kept"` // members that it had admitted, and that stay
	Gone []string `json:"gone"` // members that it had admitted, and that went with it
	Back []string `json:"back"` // nodes that it alone had revoked, and that are members again
}

// What becomes of what an admin that is revoked has signed.
const (
	KeepSigned = "keep" // members that it admitted stay, and who it revoked stays out
	DropSigned = "drop" // nothing of it counts any more
)

// headStart is how long the word for those who stay goes before the revocation
// of who admitted them: whoever heard that first would end their tunnels.
const headStart = 300 * time.Millisecond

// Revoke throws a member out for ever, by name or ID. Of an admin that has
// signed something, signed has to say what becomes of that.
func (n *Node) Revoke(ctx context.Context, name, signed string) (*Revoked, error) {
	result := &Revoked{Kept: []string{}, Gone: []string{}, Back: []string{}}
	var before []*signaling.SignedRecord
	var revocation []byte
	err := n.govern(ctx, name, func(admin signaling.Admin, rec *signaling.SignedRecord) ([][]byte, error) {
		if rec.Node == n.self.Node.Public() {
			return nil, config.WithHint(fmt.Errorf("%s is this very machine", rec.Name),
				"`p2ptun leave` leaves the network; another admin can revoke this machine")
		}
		result.Name, before = rec.Name, n.roster.Records()
		admitted, revoked := namesOf(n.roster.Admitted(rec.Node), rec.Node), namesOf(n.roster.RevokedBy(rec.Node), rec.Node)
		if n.roster.IsAdmin(rec.Node) && signed == "" && len(admitted)+len(revoked) > 0 && admin.IsNetwork() {
			return nil, undecided(rec.Name, admitted, revoked)
		}
		if signed == DropSigned {
			result.Gone = admitted
		} else {
			result.Kept = admitted
		}
		list, err := n.roster.Revoke(admin, rec.Node, signed == DropSigned)
		if err != nil {
			return nil, err
		}
		revocation = list[len(list)-1]
		return list[:len(list)-1], nil
	})
	if err != nil {
		return nil, err
	}
	if len(result.Kept) > 0 {
		select {
		case <-time.After(headStart):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return result, n.do(ctx, func() error {
		if err := n.issue([][]byte{revocation}); err != nil {
			return err
		}
		known := make(map[config.NodeKey]bool)
		for _, rec := range before {
			known[rec.Node] = true
		}
		for _, rec := range n.roster.Records() {
			if !known[rec.Node] {
				result.Back = append(result.Back, rec.Name)
			}
		}
		return nil
	})
}

// undecided says what hangs on an admin that is to be revoked.
func undecided(name string, admitted, revoked []string) error {
	var did []string
	if len(admitted) > 0 {
		did = append(did, "had admitted "+strings.Join(admitted, ", "))
	}
	if len(revoked) > 0 {
		did = append(did, "had revoked "+strings.Join(revoked, ", "))
	}
	return config.WithHint(fmt.Errorf("%s is an admin, and %s: say what becomes of that", name, strings.Join(did, "; ")),
		"--keep-admitted leaves all as it is; if the machine was stolen or broken into, --drop-admitted undoes what it did")
}

// namesOf are the records' names, but for that of one node.
func namesOf(records []*signaling.SignedRecord, but config.NodeKey) []string {
	names := []string{}
	for _, rec := range records {
		if rec.Node != but {
			names = append(names, rec.Name)
		}
	}
	return names
}

// Delegate makes a member an admin, by name or ID. Only a machine with the
// network's key can.
func (n *Node) Delegate(ctx context.Context, name string) (*NodeInfo, error) {
	return n.change(ctx, name, func(admin signaling.Admin, rec *signaling.SignedRecord) ([][]byte, error) {
		if n.roster.IsAdmin(rec.Node) {
			return nil, fmt.Errorf("%s is an admin already", rec.Name)
		}
		return n.roster.Delegate(admin, rec.Node)
	})
}

// Extend moves the end of a membership, by name or ID: to so long from now, or
// with 0 to never. It may be sooner than before.
func (n *Node) Extend(ctx context.Context, name string, life time.Duration) (*NodeInfo, error) {
	return n.change(ctx, name, func(admin signaling.Admin, rec *signaling.SignedRecord) ([][]byte, error) {
		var end time.Time
		if life > 0 {
			end = n.now().Add(life)
		}
		raw, err := n.roster.Extend(admin, rec.Node, end)
		return [][]byte{raw}, err
	})
}

// change is govern for what leaves a member one; it returns what that is now.
func (n *Node) change(ctx context.Context, name string, sign func(signaling.Admin, *signaling.SignedRecord) ([][]byte, error)) (*NodeInfo, error) {
	var node config.NodeKey
	err := n.govern(ctx, name, func(admin signaling.Admin, rec *signaling.SignedRecord) ([][]byte, error) {
		node = rec.Node
		return sign(admin, rec)
	})
	if err != nil {
		return nil, err
	}
	var info NodeInfo
	err = n.do(ctx, func() error {
		if rec, ok := n.roster.Record(node); ok {
			info = n.nodeInfo(rec)
		}
		return nil
	})
	return &info, err
}

// govern signs statements about a member and makes them count.
func (n *Node) govern(ctx context.Context, name string, sign func(signaling.Admin, *signaling.SignedRecord) ([][]byte, error)) error {
	return n.do(ctx, func() error {
		admin := n.admin()
		if admin.IsZero() {
			return errNotAdmin
		}
		rec, err := n.find(name)
		if err != nil {
			return err
		}
		statements, err := sign(admin, rec)
		if err != nil {
			return err
		}
		return n.issue(statements)
	})
}

// issue makes statements of this machine's count: first here and on the disk.
func (n *Node) issue(statements [][]byte) error {
	if len(statements) == 0 {
		return nil
	}
	n.learn(statements, false)
	n.pushRecords(statements)
	n.saveMembers()
	if n.sync.unsaved {
		return config.WithHint(fmt.Errorf("the state directory cannot be written; the change may be lost at the next start"), "make room, then do it again")
	}
	return nil
}

// find looks up a member by ID or name, also one whose membership has expired.
// IDs go first: a machine may ask for another's ID as its name.
func (n *Node) find(name string) (*signaling.SignedRecord, error) {
	for _, rec := range n.roster.Records() {
		if rec.Node.ID().String() == name {
			return rec, nil
		}
	}
	if rec, ok := n.roster.ByName(name); ok {
		return rec, nil
	}
	return nil, config.WithHint(fmt.Errorf("no member has the name or ID %q", name), "`p2ptun nodes` lists them")
}
