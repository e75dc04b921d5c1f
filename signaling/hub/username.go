package hub

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/pion/turn/v5"
)

// relayKey is the secret of the hub's relay, which outlives a restart. Of it
// follow credentials that need no memory: their username is sealed and holds
// whose they are, and until when,
//
//	base64url( nonce, 12 ‖ AES-256-GCM( network, 32 ‖ node, 32 ‖ expiry, 8 ) )
//
// so that a node goes on at once when the hub is back, before its WebSocket is.
// No two are alike, and to an observer they say nothing of who comes.
type relayKey struct {
	names cipher.AEAD
	words []byte // makes passwords
	ports []byte // makes ports
}

const relaySecret = 32

func newRelayKey(secret []byte) *relayKey {
	block, err := aes.NewCipher(deriveKey(secret, "usernames"))
	if err != nil {
		panic(err) // only a wrong length
	}
	names, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &relayKey{names, deriveKey(secret, "passwords"), deriveKey(secret, "ports")}
}

func deriveKey(secret []byte, label string) []byte {
	return keyed(secret, []byte("p2ptun/v1/relay/"+label))
}

// keyed is a pseudorandom function.
func keyed(key []byte, of ...[]byte) []byte {
	mac := hmac.New(sha256.New, key)
	for _, b := range of {
		mac.Write(b)
	}
	return mac.Sum(nil)
}

// credential makes a new one.
func (k *relayKey) credential(owner identity, expires time.Time) *credential {
	plain := append(append([]byte(nil), owner.network[:]...), owner.node[:]...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(expires.Unix()))
	nonce := make([]byte, k.names.NonceSize(), k.names.NonceSize()+len(plain)+k.names.Overhead())
	rand.Read(nonce)
	name := base64.RawURLEncoding.EncodeToString(k.names.Seal(nonce, nonce, plain, nil))
	return k.complete(&credential{owner: owner, username: name, expires: time.Unix(expires.Unix(), 0)})
}

// open is the credential with that username, if it is one of ours.
func (k *relayKey) open(username string) (cr *credential, ok bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(username)
	if err != nil || len(sealed) < k.names.NonceSize() {
		return nil, false
	}
	n := k.names.NonceSize()
	plain, err := k.names.Open(nil, sealed[:n], sealed[n:], nil)
	cr = &credential{username: username}
	if err != nil || len(plain) != len(cr.owner.network)+len(cr.owner.node)+8 {
		return nil, false
	}
	plain = plain[copy(cr.owner.network[:], plain):]
	plain = plain[copy(cr.owner.node[:], plain):]
	cr.expires = time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)
	return k.complete(cr), true
}

// complete adds what follows from the username.
func (k *relayKey) complete(cr *credential) *credential {
	cr.password = base64.RawURLEncoding.EncodeToString(keyed(k.words, []byte(cr.username))[:24])
	cr.key = turn.GenerateAuthKey(cr.username, realm, cr.password)
	return cr
}

// Relayed addresses are of the range in which Linux gives ports to those who do
// not ask for one, so that a firewall's rules for it fit.
const (
	relayPortMin = 32768
	relayPortMax = 60999

	portTries = 4
)

// port is where a member's relay is to be, if that is free: the same after a
// restart of the hub, so that its peers go on sending there.
func (k *relayKey) port(owner identity, public netip.Addr, try int) uint16 {
	sum := keyed(k.ports, owner.network[:], owner.node[:], public.AsSlice(), []byte{byte(try)})
	return relayPortMin + uint16(binary.BigEndian.Uint32(sum)%(relayPortMax-relayPortMin+1))
}
