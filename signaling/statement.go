package signaling

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/crypto/cryptobyte"
)

// Statement is one signed thing that an admin says of the network: who is a
// member, who else is an admin, who is thrown out, where the hub is. Statements
// are what nodes and the hub keep, compare and pass on; what they come to
// follows from the set of them alone, see Roster. Statements are immutable.
//
//	kind (1) ‖ signer (32) ‖ signature (64) ‖ body
//
// The signature covers the kind's label, the network and the body. Who may sign
// what is for the Roster to say.
type Statement struct {
	Kind   StatementKind
	Signer Signer
	Node   config.NodeKey // whom it is about; zero for a hub list

	record *SignedRecord // of a record
	hubs   *HubList      // of a hub list
	raw    []byte
	hash   [32]byte
}

// StatementKind is what a statement says. They are sent in this order, so that
// a signer's right is known before what it signed.
type StatementKind byte

// The kinds of statement.
const (
	StatementDelegation StatementKind = 1 + iota // Node is an admin, too
	StatementRevocation                          // Node is no member any more, for ever
	StatementHubs                                // the network's hubs
	StatementRecord                              // Node is a member
)

// Signer is the public key that signed a statement: the network's, or the node
// key of a delegate.
type Signer [ed25519.PublicKeySize]byte

// MaxStatementSize bounds a signed statement in bytes: a record with its
// sealing key, a name and the tags at their longest.
const MaxStatementSize = 3 << 10

const (
	statementVersion = 1
	statementHeader  = 1 + ed25519.PublicKeySize + signatureSize
)

// ErrVoid says that the signer of a statement is no admin of the network, or may
// not say that.
var ErrVoid = errors.New("its signer is no admin of the network, or may not say that")

func (k StatementKind) label() (kind, bool) {
	switch k {
	case StatementDelegation:
		return kindDelegation, true
	case StatementRevocation:
		return kindRevocation, true
	case StatementHubs:
		return kindHubs, true
	case StatementRecord:
		return kindRecord, true
	}
	return "", false
}

// ParseStatement verifies and decodes a statement about the network. That its
// signer is an admin it does not say. It returns ErrSignature for one that
// nobody signed.
func ParseStatement(network config.NetworkKey, raw []byte) (*Statement, error) {
	return parseStatement(network, raw, func(key config.NodeKey, msg, sig []byte) bool { return key.Verify(msg, sig) })
}

// parseStored decodes a statement that was verified once.
func parseStored(network config.NetworkKey, raw []byte) (*Statement, error) {
	return parseStatement(network, raw, func(config.NodeKey, []byte, []byte) bool { return true })
}

func parseStatement(network config.NetworkKey, raw []byte, verify func(key config.NodeKey, msg, sig []byte) bool) (*Statement, error) {
	if len(raw) > MaxStatementSize {
		return nil, errors.New("statement: too long")
	}
	if len(raw) < statementHeader {
		return nil, fmt.Errorf("statement: %w", errFormat)
	}
	s := &Statement{Kind: StatementKind(raw[0]), Signer: Signer(raw[1:33])}
	label, ok := s.Kind.label()
	if !ok {
		return nil, fmt.Errorf("statement: %w", errVersion)
	}
	signature, body := raw[33:statementHeader], raw[statementHeader:]
	if !verify(config.NodeKey(s.Signer), toSign(label, network.ID(), body), signature) {
		return nil, fmt.Errorf("statement: %w", ErrSignature)
	}
	if err := s.unmarshal(body); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	if s.Node == config.NodeKey(network) { // a signer is known by its key: nobody may be two
		return nil, errors.New("statement: the network's own key cannot be a node's")
	}
	s.raw, s.hash = slices.Clone(raw), sha256.Sum256(raw)
	return s, nil
}

// Bytes is the signed form. The caller must not change it.
func (s *Statement) Bytes() []byte { return s.raw }

// Hash names this very statement.
func (s *Statement) Hash() [32]byte { return s.hash }

// Record is what a statement of that kind says, nil for the others.
func (s *Statement) Record() *SignedRecord { return s.record }

// Hubs is what a statement of that kind says, nil for the others.
func (s *Statement) Hubs() *HubList { return s.hubs }

// Key is the place of the statement in a set of them: of two with the same key
// the one that Supersedes the other counts.
func (s *Statement) Key() []byte {
	return slices.Concat([]byte{byte(s.Kind)}, s.Node[:], s.Signer[:])
}

// compare orders as Key does.
func (s *Statement) compare(o *Statement) int {
	return cmp.Or(cmp.Compare(s.Kind, o.Kind), compareKeys(s.Node, o.Node), slices.Compare(s.Signer[:], o.Signer[:]))
}

// Supersedes orders two statements of one key: the higher sequence wins, then
// the lower hash, so that all nodes agree.
func (s *Statement) Supersedes(old *Statement) bool {
	if a, b := s.sequence(), old.sequence(); a != b {
		return a > b
	}
	return slices.Compare(s.hash[:], old.hash[:]) < 0
}

func (s *Statement) sequence() uint64 {
	switch {
	case s.record != nil:
		return s.record.Sequence
	case s.hubs != nil:
		return s.hubs.Sequence
	}
	return 0
}

func (s *Statement) unmarshal(body []byte) error {
	in := cryptobyte.String(body)
	var version uint8
	if !in.ReadUint8(&version) || version != statementVersion {
		return errVersion
	}
	switch s.Kind {
	case StatementRecord:
		s.record = &SignedRecord{statement: s}
		if err := s.record.unmarshal(body[1:]); err != nil {
			return err
		}
		s.Node = s.record.Node
		return nil
	case StatementHubs:
		s.hubs = new(HubList)
		return s.hubs.unmarshal(body[1:])
	}
	if !in.CopyBytes(s.Node[:]) || !in.Empty() || s.Node.IsZero() {
		return errFormat
	}
	return nil
}

// HubList is where the network's hubs are. It overrides what any hub says of
// itself.
//
//	version (1) ‖ sequence (8) ‖ hub count (1)
//	‖ hubs (URL count (1) ‖ URLs (1+n each) ‖ hub key (32))
type HubList struct {
	Sequence uint64 // of two lists the higher wins
	Hubs     []config.Hub
}

// MaxHubs is how many hubs a list names.
const MaxHubs = 4

func (l *HubList) marshal(b *cryptobyte.Builder) error {
	if len(l.Hubs) == 0 || len(l.Hubs) > MaxHubs {
		return fmt.Errorf("hub list: %d hubs, want 1 to %d", len(l.Hubs), MaxHubs)
	}
	b.AddUint64(l.Sequence)
	b.AddUint8(uint8(len(l.Hubs)))
	for _, h := range l.Hubs {
		config.AddHub(b, h)
	}
	return nil
}

func (l *HubList) unmarshal(body []byte) error {
	s := cryptobyte.String(body)
	var n uint8
	if !s.ReadUint64(&l.Sequence) || !s.ReadUint8(&n) || n == 0 || n > MaxHubs {
		return errFormat
	}
	l.Hubs = make([]config.Hub, n)
	for i := range l.Hubs {
		if !config.ReadHub(&s, &l.Hubs[i]) || l.Hubs[i].Key.IsZero() {
			return errFormat
		}
	}
	if !s.Empty() {
		return errFormat
	}
	return nil
}
