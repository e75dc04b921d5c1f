package signaling

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"unicode"

	"github.com/p2ptun/p2ptun/config"
)

// The WebSocket endpoint of a hub.
const (
	Path        = "/v1/signal"
	Subprotocol = "p2ptun.v1"

	// MaxFrame is the longest frame either side takes, in bytes.
	MaxFrame = 64 << 10
	// MaxSealed is the longest sealed message a frame carries, in bytes:
	// a frame's share once base64 has grown it by a third.
	MaxSealed = 40 << 10
	// NonceSize is the length of both sides' nonces in a hello.
	NonceSize = 32
)

// Message is one frame between node and hub: a JSON object whose "type" names
// it. Bytes travel as base64. Unknown types and fields are ignored.
type Message interface{ frameType() string }

// Challenge is the hub's first frame.
type Challenge struct {
	Nonce []byte        `json:"nonce"`
	Hub   config.HubKey `json:"hub"`
	TLS   bool          `json:"tls,omitempty"` // the hub ends TLS itself; see Handshake.TLSExporter
}

// Hello is the node's answer. With a Proof it comes as a member, with a
// Ticket as a joiner, with Access besides it may create its network.
type Hello struct {
	Network   config.NetworkKey `json:"network"`
	Node      config.NodeKey    `json:"node"`
	Nonce     []byte            `json:"nonce"`
	Signature []byte            `json:"signature"` // see Handshake.SignHello
	Epoch     Epoch             `json:"epoch"`
	Presence  []byte            `json:"presence"`         // signature over the epoch
	Proof     [][]byte          `json:"proof,omitempty"`  // statements: own record, before it the delegation of its signer
	Access    []byte            `json:"access,omitempty"` // see Handshake.AccessProof
	Ticket    []byte            `json:"ticket,omitempty"`
	Since     uint64            `json:"since,omitempty"` // last Members.Sequence that was taken from this hub
}

// Welcome ends the handshake.
type Welcome struct {
	Signature []byte `json:"signature"`          // the hub's, see Handshake.SignWelcome
	Member    bool   `json:"member"`             // false: a joiner, until its record is published
	Observed  string `json:"observed,omitempty"` // the node's address as the hub sees it
}

// Members carries statements. From the hub: a page of those that changed after
// the sequence the node named, then each change as it happens. Digest, on the
// last page, covers all the hub has (see Digest). From a node: statements to
// publish.
type Members struct {
	Statements [][]byte `json:"statements,omitempty"`
	Sequence   uint64   `json:"sequence,omitempty"`
	More       bool     `json:"more,omitempty"`
	Digest     []byte   `json:"digest,omitempty"`
	Since      *uint64  `json:"since,omitempty"` // from a node: send again all after this sequence
}

// MaxProof is how many statements prove a membership at most.
const MaxProof = 4

// Presence says who came and who went. It is a hint: Online counts only with
// the node's signature over its epoch.
type Presence struct {
	Online  []Online         `json:"online,omitempty"`
	Offline []config.NodeKey `json:"offline,omitempty"`
}

// Online is one node's boot epoch under its signature.
type Online struct {
	Node      config.NodeKey `json:"node"`
	Epoch     Epoch          `json:"epoch"`
	Signature []byte         `json:"signature"`
}

// Signal is a sealed message from one member to another. The hub fills From.
type Signal struct {
	From   config.NodeKey `json:"from"`
	To     config.NodeKey `json:"to"`
	Sealed []byte         `json:"sealed"`
}

// Join is a sealed request, answer or acknowledgement between a joiner and
// the keeper of its invite. The hub fills From.
type Join struct {
	From   config.NodeKey `json:"from"`
	To     config.NodeKey `json:"to"`
	Sealed []byte         `json:"sealed"`
}

// Tickets tells the hub what became of the invites that a keeper holds, so
// that only holders of an open one may knock.
type Tickets struct {
	Tickets []Ticket `json:"tickets"`
}

// Ticket is one invite as the hub knows it.
type Ticket struct {
	Hash  []byte      `json:"hash"` // SHA-256 of what a joiner shows
	State TicketState `json:"state"`
}

// TicketState is why an invite is or is not open.
type TicketState string

// The states of a ticket.
const (
	TicketOpen    TicketState = "open"
	TicketUsed    TicketState = "used"
	TicketExpired TicketState = "expired"
	TicketRevoked TicketState = "revoked"
)

// Credentials are good for one TURN allocation on each of the servers. A node
// that sends an empty one asks for new ones.
type Credentials struct {
	Servers  []netip.AddrPort `json:"servers,omitempty"` // STUN and TURN over UDP
	STUN     []netip.AddrPort `json:"stun,omitempty"`    // STUN alone, at other ports and addresses
	Relays   []string         `json:"relays,omitempty"`  // other TURN servers, each with credentials of its own: see config.ParseRelay
	Username string           `json:"username,omitempty"`
	Password string           `json:"password,omitempty"`
	Expires  int64            `json:"expires,omitempty"` // Unix seconds
}

// Error is the hub's refusal. After one without To it closes the connection.
type Error struct {
	Code    ErrorCode       `json:"code"`
	Message string          `json:"message"`
	To      *config.NodeKey `json:"to,omitempty"`    // the signal's or join's addressee that is not there
	Proof   []byte          `json:"proof,omitempty"` // with CodeRevoked: the statement that says so
}

// ErrorCode says what the hub refuses.
type ErrorCode string

// The codes of an Error.
const (
	CodeUnauthorized ErrorCode = "unauthorized" // a signature or the proof of membership is not valid
	CodeNetwork      ErrorCode = "network"      // the hub does not know the network, and no access key was shown
	CodeTicket       ErrorCode = "ticket"       // the hub knows no such invite
	CodeUsed         ErrorCode = "used"
	CodeExpired      ErrorCode = "expired"
	CodeRevoked      ErrorCode = "revoked"
	CodeOffline      ErrorCode = "offline" // To is not connected
	CodeLimit        ErrorCode = "limit"   // a rate or quota
	CodeProtocol     ErrorCode = "protocol"
	CodeReplaced     ErrorCode = "replaced" // the same node connected again
	CodeCopied       ErrorCode = "copied"   // two machines connect as the same node, in turns
)

func (e *Error) Error() string { return fmt.Sprintf("hub: %s (%s)", e.Message, e.Code) }

func (*Challenge) frameType() string   { return "challenge" }
func (*Hello) frameType() string       { return "hello" }
func (*Welcome) frameType() string     { return "welcome" }
func (*Members) frameType() string     { return "members" }
func (*Presence) frameType() string    { return "presence" }
func (*Signal) frameType() string      { return "signal" }
func (*Join) frameType() string        { return "join" }
func (*Tickets) frameType() string     { return "tickets" }
func (*Credentials) frameType() string { return "credentials" }
func (*Error) frameType() string       { return "error" }

func newMessage(frameType string) Message {
	switch frameType {
	case "challenge":
		return new(Challenge)
	case "hello":
		return new(Hello)
	case "welcome":
		return new(Welcome)
	case "members":
		return new(Members)
	case "presence":
		return new(Presence)
	case "signal":
		return new(Signal)
	case "join":
		return new(Join)
	case "tickets":
		return new(Tickets)
	case "credentials":
		return new(Credentials)
	case "error":
		return new(Error)
	}
	return nil
}

var errFrameSize = errors.New("frame: too long")

// Encode makes a frame of m, which is not nil. It fails only for one longer
// than MaxFrame.
func Encode(m Message) ([]byte, error) {
	fields, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("frame: %w", err)
	}
	frame := []byte(`{"type":"` + m.frameType() + `"`)
	if len(fields) > 2 {
		frame = append(frame, ',')
	}
	frame = append(frame, fields[1:]...)
	if len(frame) > MaxFrame {
		return nil, errFrameSize
	}
	return frame, nil
}

// Decode takes a frame apart. A frame of an unknown type is nil without an
// error: a newer side may send it.
func Decode(frame []byte) (Message, error) {
	if len(frame) > MaxFrame {
		return nil, errFrameSize
	}
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(frame, &head); err != nil {
		return nil, fmt.Errorf("frame: %w", err)
	}
	m := newMessage(head.Type)
	if m == nil {
		return nil, nil
	}
	if err := json.Unmarshal(frame, m); err != nil {
		return nil, fmt.Errorf("frame %q: %w", head.Type, err)
	}
	if e, ok := m.(*Error); ok {
		e.Message = Printable(e.Message)
	}
	return m, nil
}

// maxPrintable is what is shown of somebody else's words, in characters.
const maxPrintable = 200

// Printable is a text of somebody else's as it may be shown: in one line, not
// long, and without what a terminal would obey.
func Printable(s string) string {
	clean := []rune{}
	for _, r := range s {
		if len(clean) == maxPrintable {
			return string(clean) + "…"
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		clean = append(clean, r)
	}
	return string(clean)
}
