package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// A token is a pasted string: a prefix that says what it is, then base64url of
//
//	version (1) ‖ body ‖ first 4 bytes of SHA-256(prefix ‖ version ‖ body)
//
// The checksum finds a typo or a missing end before anything is dialed.
const (
	linkPrefix   = "p2ptun-hub-"
	invitePrefix = "p2ptun-invite-"

	tokenVersion  = 1
	checksumSize  = 4
	maxTokenChars = 4096

	maxURLLength = 255

	// MaxHubURLs is how many addresses of one hub a token holds.
	MaxHubURLs = 8

	// AccessSize is the length of a hub's access key, SecretSize of an
	// invite's secret, in bytes.
	AccessSize = 16
	SecretSize = 16
)

// Hub says where a hub is and who it is.
type Hub struct {
	URLs []string // see CheckHubURL; 1 to MaxHubURLs
	Key  HubKey   // identity that the hub proves in its welcome
}

// Equal says whether both are the same hub at the same addresses.
func (h Hub) Equal(other Hub) bool { return h.Key == other.Key && slices.Equal(h.URLs, other.URLs) }

// HubLink lets its holder create networks on a hub.
type HubLink struct {
	Hub
	Access [AccessSize]byte // secret
}

// Invite lets a machine ask the invite's keeper for admission. It signs
// nothing itself: only the keeper admits, by its own state and clock.
type Invite struct {
	Hub         Hub
	Network     NetworkKey
	Secret      [SecretSize]byte
	Keeper      NodeKey      // who admits
	KeeperWG    WireGuardKey // with it the joiner proves its own WireGuard key
	KeeperSeals [32]byte     // hash of the keeper's sealing key, which the hub delivers
}

// Format says which hub, whatever the verb, and never the access key.
func (l HubLink) Format(f fmt.State, _ rune) {
	io.WriteString(f, "hub link for "+strings.Join(l.URLs, ", "))
}

// MarshalText refuses: the access key is printed by Token, on purpose.
func (l HubLink) MarshalText() ([]byte, error) { return nil, errSecret }

// Format says which network, whatever the verb, and never the secret.
func (i Invite) Format(f fmt.State, _ rune) {
	io.WriteString(f, "invite to network "+i.Network.ID().String())
}

// MarshalText refuses: the secret is printed by Token, on purpose.
func (i Invite) MarshalText() ([]byte, error) { return nil, errSecret }

// Token is the link as users paste it. It holds a secret.
func (l HubLink) Token() string {
	return encodeToken(linkPrefix, func(b *cryptobyte.Builder) {
		AddHub(b, l.Hub)
		b.AddBytes(l.Access[:])
	})
}

// Token is the invite as users paste it. It holds a secret.
func (i Invite) Token() string {
	return encodeToken(invitePrefix, func(b *cryptobyte.Builder) {
		AddHub(b, i.Hub)
		b.AddBytes(i.Network[:])
		b.AddBytes(i.Secret[:])
		b.AddBytes(i.Keeper[:])
		b.AddBytes(i.KeeperWG[:])
		b.AddBytes(i.KeeperSeals[:])
	})
}

// ParseHubLink takes what HubLink.Token made. White space around it is fine,
// and so are line breaks inside, as a terminal's copy may bring them.
func ParseHubLink(token string) (HubLink, error) {
	var l HubLink
	s, err := decodeToken(linkPrefix, token)
	if err != nil {
		return l, tokenError("hub link", err, "copy the whole link that `p2ptun hub` printed; `p2ptun hub link` prints it again")
	}
	if !ReadHub(&s, &l.Hub) || !s.CopyBytes(l.Access[:]) || !s.Empty() {
		return l, tokenError("hub link", errTokenBody, "was it made by a newer p2ptun?")
	}
	return l, nil
}

// ParseInvite takes what Invite.Token made, with white space as in
// ParseHubLink.
func ParseInvite(token string) (Invite, error) {
	var i Invite
	s, err := decodeToken(invitePrefix, token)
	if err != nil {
		return i, tokenError("invite", err, "copy the whole token that `p2ptun invite` printed, or ask for a new one")
	}
	ok := ReadHub(&s, &i.Hub) && s.CopyBytes(i.Network[:]) && s.CopyBytes(i.Secret[:]) &&
		s.CopyBytes(i.Keeper[:]) && s.CopyBytes(i.KeeperWG[:]) && s.CopyBytes(i.KeeperSeals[:]) && s.Empty()
	if !ok {
		return i, tokenError("invite", errTokenBody, "was it made by a newer p2ptun?")
	}
	return i, nil
}

var (
	errTokenBody     = errors.New("its content is not understood")
	errTokenChecksum = errors.New("it is cut off or mistyped")
)

func tokenError(what string, err error, hint string) error {
	return WithHint(fmt.Errorf("the %s is not valid: %w", what, err), hint)
}

func encodeToken(prefix string, body cryptobyte.BuilderContinuation) string {
	b := cryptobyte.NewBuilder([]byte{tokenVersion})
	body(b)
	raw := b.BytesOrPanic()
	sum := checksum(prefix, raw)
	return prefix + base64.RawURLEncoding.EncodeToString(append(raw, sum...))
}

func decodeToken(prefix, token string) (cryptobyte.String, error) {
	token = strings.TrimSpace(token)
	rest, found := strings.CutPrefix(token, prefix)
	switch {
	case len(token) > maxTokenChars:
		return nil, errors.New("it is too long")
	case strings.HasPrefix(token, linkPrefix) && prefix == invitePrefix:
		return nil, errors.New("it is a hub link, not an invite (a hub link makes a network: `up --new NAME --hub LINK`)")
	case strings.HasPrefix(token, invitePrefix) && prefix == linkPrefix:
		return nil, errors.New("it is an invite, not a hub link (an invite joins: `up INVITE`)")
	case !found:
		return nil, fmt.Errorf("it does not begin with %q", prefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(raw) < 1+checksumSize {
		return nil, errTokenChecksum
	}
	body, sum := raw[:len(raw)-checksumSize], raw[len(raw)-checksumSize:]
	if !bytes.Equal(checksum(prefix, body), sum) {
		return nil, errTokenChecksum
	}
	if body[0] != tokenVersion {
		return nil, fmt.Errorf("it has version %d, this p2ptun knows version %d", body[0], tokenVersion)
	}
	return body[1:], nil
}

func checksum(prefix string, raw []byte) []byte {
	sum := sha256.Sum256(slices.Concat([]byte(prefix), raw))
	return sum[:checksumSize]
}

// AddHub writes a hub, as tokens and hub lists hold it:
//
//	URL count (1) ‖ URLs (1+n each) ‖ hub key (32)
func AddHub(b *cryptobyte.Builder, h Hub) {
	b.AddUint8(uint8(len(h.URLs)))
	for _, u := range h.URLs {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(u)) })
	}
	b.AddBytes(h.Key[:])
}

// ReadHub reads what AddHub wrote, and says whether it is well formed.
func ReadHub(s *cryptobyte.String, h *Hub) bool {
	var n uint8
	if !s.ReadUint8(&n) || n < 1 || n > MaxHubURLs {
		return false
	}
	h.URLs = make([]string, n)
	for i := range h.URLs {
		var u cryptobyte.String
		if !s.ReadUint8LengthPrefixed(&u) || CheckHubURL(string(u)) != nil {
			return false
		}
		h.URLs[i] = string(u)
	}
	return s.CopyBytes(h.Key[:])
}

// CheckHubURL says what is wrong with a hub's URL: it has the form
// wss://HOST:PORT, or ws://HOST:PORT without TLS, and nothing more.
func CheckHubURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("hub url: %w", err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	whole := s == u.Scheme+"://"+u.Host && u.Hostname() != "" && err == nil && port != 0
	if len(s) > maxURLLength || u.Scheme != "ws" && u.Scheme != "wss" || !whole {
		return fmt.Errorf("hub url %q: want wss://HOST:PORT or ws://HOST:PORT", s)
	}
	return nil
}
