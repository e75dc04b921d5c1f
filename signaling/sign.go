package signaling

import (
	"errors"
	"slices"

	"github.com/p2ptun/p2ptun/config"
)

// A kind separates the uses of a signing key, so that a signature made for
// one object never passes for another.
type kind string

const (
	kindHello       kind = "hello"        // node: this connection to this hub is mine
	kindWelcome     kind = "welcome"      // hub: this connection is with me
	kindTLS         kind = "tls"          // hub: this TLS key is mine; of no network
	kindPresence    kind = "presence"     // node: my boot epoch
	kindDelegation  kind = "delegation"   // network: this node is an admin
	kindRevocation  kind = "revocation"   // admin: this node is thrown out
	kindHubs        kind = "hub-list"     // admin: the hubs are these
	kindRecord      kind = "record"       // admin: this machine is a member
	kindJoinRequest kind = "join-request" // node: I ask to be admitted
	kindJoin        kind = "join"         // keeper: my answer to that request
	kindBeacon      kind = "beacon"       // node: where it is on a LAN
	kindSeal        kind = "seal"         // node: this offer or answer is mine
)

// ErrSignature says that a signed object is not signed by whom it names, or
// not by one who may sign it.
var ErrSignature = errors.New("signature is not valid")

// toSign is what a signature covers: the label, a zero byte, the network, the
// body.
func toSign(k kind, network config.ID, body []byte) []byte {
	return slices.Concat([]byte("p2ptun/v1/"), []byte(k), []byte{0}, network[:], body)
}

const signatureSize = 64
