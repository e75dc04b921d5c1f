package signaling

import (
	"fmt"
	"slices"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/crypto/cryptobyte"
)

// Admin signs statements: with the network's key, or as its delegate with a
// node key. The zero value may sign nothing.
type Admin struct {
	network config.NetworkKey
	signer  Signer
	sign    func(msg []byte) []byte
}

// NetworkAdmin may sign everything.
func NetworkAdmin(key config.NetworkPrivateKey) Admin {
	return Admin{network: key.Public(), signer: Signer(key.Public()), sign: key.Sign}
}

// DelegateAdmin may admit and revoke plain members, and say where the hub is,
// as long as a delegation for the node stands.
func DelegateAdmin(network config.NetworkKey, key config.NodePrivateKey) Admin {
	return Admin{network: network, signer: Signer(key.Public()), sign: key.Sign}
}

// IsZero says whether a may sign nothing.
func (a Admin) IsZero() bool { return a.sign == nil }

// IsNetwork says whether a signs with the network's key.
func (a Admin) IsNetwork() bool { return a.sign != nil && a.signer == Signer(a.network) }

// Signed says whether the statement is a's own.
func (a Admin) Signed(s *Statement) bool { return a.sign != nil && s.Signer == a.signer }

// Record makes a member of a machine. It fails for a record that
// ParseStatement would refuse.
func (a Admin) Record(r Record) (*SignedRecord, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("member record: %w", err)
	}
	s, err := a.state(StatementRecord, r.marshal)
	if err != nil {
		return nil, err
	}
	return s.Record(), nil
}

// Delegate makes a node an admin. Only the network's key can.
func (a Admin) Delegate(node config.NodeKey) (*Statement, error) {
	if !a.IsNetwork() {
		return nil, ErrNetworkKey
	}
	return a.state(StatementDelegation, func(b *cryptobyte.Builder) error { b.AddBytes(node[:]); return nil })
}

// Revoke throws a node out for ever. Of an admin it counts only under the
// network's key.
func (a Admin) Revoke(node config.NodeKey) (*Statement, error) {
	return a.state(StatementRevocation, func(b *cryptobyte.Builder) error { b.AddBytes(node[:]); return nil })
}

// Hubs says where the network's hubs are.
func (a Admin) Hubs(l HubList) (*Statement, error) { return a.state(StatementHubs, l.marshal) }

// state signs one statement.
func (a Admin) state(k StatementKind, body func(*cryptobyte.Builder) error) (*Statement, error) {
	b := cryptobyte.NewBuilder([]byte{statementVersion})
	if err := body(b); err != nil {
		return nil, err
	}
	raw, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	label, _ := k.label()
	sig := a.sign(toSign(label, a.network.ID(), raw))
	return ParseStatement(a.network, slices.Concat([]byte{byte(k)}, a.signer[:], sig, raw))
}

// ErrNetworkKey says that only the holder of the network's key can do it.
var ErrNetworkKey = config.WithHint(fmt.Errorf("only a machine that holds the network's key can do this"),
	"do it on the machine that made the network; or bring its key here with `p2ptun network export-key` there and `p2ptun network import-key` here")
