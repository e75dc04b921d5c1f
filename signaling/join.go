package signaling

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/p2ptun/p2ptun/config"
)

// Joining takes three sealed messages, which the hub only carries:
//
//	joiner ── request: 1 ‖ enc ‖ seal to the keeper's key ──────► keeper
//	joiner ◄─ answer:  2 ‖ enc ‖ seal to the joiner's key ─────── keeper
//	joiner ── ack:     3 ‖ a secret exported from the answer ───► keeper
//
// The request proves the invite's secret (a MAC), the WireGuard key (a MAC
// under the X25519 secret with the keeper's) and the node key (a signature).
// The answer is the keeper's by its signature over the request's hash. The
// acknowledgement proves the sealing key; the keeper publishes the record only
// then.
const (
	joinRequest = 1
	joinAnswer  = 2
	joinAck     = 3
)

// InviteKeys is what an invite's secret yields.
type InviteKeys struct {
	ticket [32]byte
	mac    [32]byte
}

// NewInviteKeys derives the keys of the invite with this secret.
func NewInviteKeys(network config.ID, secret [config.SecretSize]byte) InviteKeys {
	var k InviteKeys
	copy(k.ticket[:], inviteKey(network, secret, "ticket"))
	copy(k.mac[:], inviteKey(network, secret, "mac"))
	return k
}

func inviteKey(network config.ID, secret [config.SecretSize]byte, label string) []byte {
	key, err := hkdf.Key(sha256.New, secret[:], network[:], "p2ptun/v1/invite/"+label, 32)
	if err != nil {
		panic(err) // only a length out of range
	}
	return key
}

// Ticket is what the joiner shows the hub.
func (k InviteKeys) Ticket() []byte { return slices.Clone(k.ticket[:]) }

// TicketHash is what the keeper registers at the hub; it names the invite.
func (k InviteKeys) TicketHash() [32]byte { return sha256.Sum256(k.ticket[:]) }

// Format hides the secrets from every verb of package fmt.
func (InviteKeys) Format(f fmt.State, _ rune) { io.WriteString(f, "invite keys") }

// JoinRequest is what a machine asks of the keeper.
type JoinRequest struct {
	Invite    [32]byte // TicketHash
	Name      string   // wanted; the keeper may give another
	Node      config.NodeKey
	WireGuard config.WireGuardKey
	Sealing   config.SealingKey
}

// JoinAnswer is what the keeper says. With a Refusal the rest is empty.
type JoinAnswer struct {
	Refusal      ErrorCode // CodeUsed, CodeExpired, CodeRevoked, CodeLimit; "" admits
	NetworkName  string
	Prefix       netip.Prefix // IPv4
	DiscoveryKey [32]byte
	Statements   [][]byte // the network's hub list, the joiner's record, and what proves them
}

// Joiner is the joining side of one exchange. It is not safe for concurrent
// use.
type Joiner struct {
	self    *Self
	wg      config.WireGuardPrivateKey
	invite  config.Invite
	keys    InviteKeys
	name    string   // wanted in the request
	sent    []byte   // the request
	request [32]byte // its hash
	ack     []byte
}

// NewJoiner prepares to use the invite. self is the joiner's; wg its
// WireGuard key.
func NewJoiner(self *Self, wg config.WireGuardPrivateKey, invite config.Invite) *Joiner {
	return &Joiner{self: self, wg: wg, invite: invite, keys: NewInviteKeys(self.Network, invite.Secret)}
}

// Request seals a request to the keeper, whose sealing key the hub delivered:
// it is checked against the invite. It fails for a name that CheckName
// refuses. For the same name it is the same request again, so that the answer
// to an earlier one still counts on a slow way.
func (j *Joiner) Request(keeperSealing config.SealingKey, name string) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	if keeperSealing.Hash() != j.invite.KeeperSeals {
		return nil, errors.New("join: the hub delivered another key than the invite names")
	}
	if j.sent != nil && j.name == name {
		return slices.Clone(j.sent), nil
	}
	to, err := keeperSealing.HPKE()
	if err != nil {
		return nil, err
	}
	proof, err := wireGuardProof(j.wg, j.invite.KeeperWG)
	if err != nil {
		return nil, err
	}
	r := JoinRequest{Invite: j.keys.TicketHash(), Name: name, Node: j.self.Node.Public(), WireGuard: j.wg.Public(), Sealing: j.self.Sealing.Public()}
	body := r.marshal()
	plain := slices.Concat(body, joinMAC(j.keys.mac[:], body), joinMAC(proof, body),
		j.self.Node.Sign(toSign(kindJoinRequest, j.self.Network, slices.Concat(j.invite.Keeper[:], body))))
	enc, sender, err := newJoinSender(to, joinInfo("request", j.self.Network, j.invite.Keeper, nil))
	if err != nil {
		return nil, err
	}
	box, err := sender.Seal(nil, plain)
	if err != nil {
		return nil, err
	}
	msg := slices.Concat([]byte{joinRequest}, enc, box)
	j.name, j.sent, j.request = name, slices.Clone(msg), sha256.Sum256(msg)
	return msg, nil
}

// Answer opens the keeper's answer to the last request, and takes nobody
// else's. The record in it is the keeper's word, still to be verified and
// compared with the keys asked for. On admission, after storing what the
// answer holds, send Ack.
func (j *Joiner) Answer(msg []byte) (*JoinAnswer, error) {
	enc, box, ok := splitJoin(joinAnswer, msg)
	if !ok {
		return nil, errSeal
	}
	r, err := newJoinRecipient(enc, j.self.Sealing.HPKE(), joinInfo("answer", j.self.Network, j.invite.Keeper, j.request[:]))
	if err != nil {
		return nil, errSeal
	}
	plain, err := r.Open(nil, box)
	if err != nil || len(plain) < signatureSize {
		return nil, errSeal
	}
	body, sig := plain[:len(plain)-signatureSize], plain[len(plain)-signatureSize:]
	if !j.invite.Keeper.Verify(toSign(kindJoin, j.self.Network, slices.Concat(j.request[:], body)), sig) {
		return nil, ErrSignature
	}
	a := new(JoinAnswer)
	if err := a.unmarshal(body); err != nil {
		return nil, err
	}
	if j.ack, err = r.Export("p2ptun/v1/join/ack", exportLen); err != nil {
		return nil, err
	}
	return a, nil
}

// Ack acknowledges the answer opened last.
func (j *Joiner) Ack() []byte { return append([]byte{joinAck}, j.ack...) }

// OpenJoinRequest is the keeper's side: it opens a request and checks all of
// its proofs. keys finds the keys of the invite that a ticket hash names.
func OpenJoinRequest(self *Self, wg config.WireGuardPrivateKey, msg []byte, keys func(ticket [32]byte) (InviteKeys, bool)) (*JoinRequest, error) {
	enc, box, ok := splitJoin(joinRequest, msg)
	if !ok {
		return nil, errSeal
	}
	keeper := self.Node.Public()
	r, err := newJoinRecipient(enc, self.Sealing.HPKE(), joinInfo("request", self.Network, keeper, nil))
	if err != nil {
		return nil, errSeal
	}
	plain, err := r.Open(nil, box)
	if err != nil || len(plain) < 2*sha256.Size+signatureSize {
		return nil, errSeal
	}
	n := len(plain) - 2*sha256.Size - signatureSize
	body, secretMAC, wgMAC, sig := plain[:n], plain[n:n+32], plain[n+32:n+64], plain[n+64:]
	req := new(JoinRequest)
	if err := req.unmarshal(body); err != nil {
		return nil, err
	}
	k, ok := keys(req.Invite)
	if !ok || !hmac.Equal(secretMAC, joinMAC(k.mac[:], body)) {
		return nil, errors.New("join request: no such invite")
	}
	proof, err := wireGuardProof(wg, req.WireGuard)
	if err != nil || !hmac.Equal(wgMAC, joinMAC(proof, body)) {
		return nil, errors.New("join request: the WireGuard key is not proved")
	}
	if !req.Node.Verify(toSign(kindJoinRequest, self.Network, slices.Concat(keeper[:], body)), sig) {
		return nil, ErrSignature
	}
	if _, err := req.Sealing.HPKE(); err != nil { // else the answer could not be sealed
		return nil, fmt.Errorf("join request: %w", err)
	}
	return req, nil
}

// SealJoinAnswer is the keeper's answer to a request message, and the
// acknowledgement that the joiner will send when it has it.
func SealJoinAnswer(self *Self, to *JoinRequest, request []byte, a *JoinAnswer) (msg, ack []byte, err error) {
	key, err := to.Sealing.HPKE()
	if err != nil {
		return nil, nil, err
	}
	body, err := a.marshal()
	if err != nil {
		return nil, nil, err
	}
	hash := sha256.Sum256(request)
	enc, sender, err := newJoinSender(key, joinInfo("answer", self.Network, self.Node.Public(), hash[:]))
	if err != nil {
		return nil, nil, err
	}
	sig := self.Node.Sign(toSign(kindJoin, self.Network, slices.Concat(hash[:], body)))
	box, err := sender.Seal(nil, slices.Concat(body, sig))
	if err != nil {
		return nil, nil, err
	}
	secret, err := sender.Export("p2ptun/v1/join/ack", exportLen)
	return slices.Concat([]byte{joinAnswer}, enc, box), append([]byte{joinAck}, secret...), err
}

// IsJoinAck says whether a join message is an acknowledgement.
func IsJoinAck(msg []byte) bool { return len(msg) == 1+exportLen && msg[0] == joinAck }

func newJoinSender(to hpke.PublicKey, info []byte) ([]byte, *hpke.Sender, error) {
	return hpke.NewSender(to, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info)
}

func newJoinRecipient(enc []byte, key hpke.PrivateKey, info []byte) (*hpke.Recipient, error) {
	return hpke.NewRecipient(enc, key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info)
}

func joinInfo(label string, network config.ID, keeper config.NodeKey, bind []byte) []byte {
	return slices.Concat([]byte("p2ptun/v1/join/"+label), []byte{0}, network[:], keeper[:], bind)
}

func splitJoin(kind byte, msg []byte) (enc, box []byte, ok bool) {
	if len(msg) < 1+encSize || len(msg) > MaxSealed || msg[0] != kind {
		return nil, nil, false
	}
	return msg[1 : 1+encSize], msg[1+encSize:], true
}

func wireGuardProof(own config.WireGuardPrivateKey, peer config.WireGuardKey) ([]byte, error) {
	shared, err := own.Shared(peer)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, shared, nil, "p2ptun/v1/join/wireguard", 32)
}

func joinMAC(key, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return mac.Sum(nil)
}
