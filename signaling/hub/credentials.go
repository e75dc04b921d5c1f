package hub

import (
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// identity is a member of a network.
type identity struct {
	network config.NetworkKey
	node    config.NodeKey
}

// credentials are the members' keys to the relay. Those of an earlier run of the
// hub are good still, see relayKey. It is safe for concurrent use.
type credentials struct {
	servers, stun []netip.AddrPort    // set before use, as relays
	relays        []config.Relay      // that are not the hub's
	key           *relayKey           // fixed
	member        func(identity) bool // asks the Store; fixed

	mu      sync.Mutex // guards what follows
	byName  map[string]*credential
	newest  map[identity]*credential
	refused map[identity]time.Time // until then nothing of an earlier run counts of these
}

type credential struct {
	owner    identity
	username string
	key      []byte // RFC 8489 section 9.2.2
	password string
	expires  time.Time
}

const (
	realm = "p2ptun"

	credentialLife = 24 * time.Hour
	// A node that comes back soon gets the same again: none is left behind by
	// a connection that flaps.
	credentialFresh = credentialLife / 2

	// refusedFor is for how long the Store is not asked again about one who is
	// no member.
	refusedFor = 10 * time.Second
)

// newCredentials returns credentials under the key. member says whether somebody
// is a member, as stored; it is asked once about the owner of credentials of an
// earlier run.
func newCredentials(key *relayKey, member func(identity) bool) *credentials {
	return &credentials{
		key: key, member: member, byName: make(map[string]*credential),
		newest: make(map[identity]*credential), refused: make(map[identity]time.Time),
	}
}

// issue returns credentials that are good for at least credentialFresh.
func (c *credentials) issue(owner identity) *signaling.Credentials {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	cr := c.newest[owner]
	if cr == nil || cr.expires.Sub(now) < credentialFresh {
		cr = c.key.credential(owner, now.Add(credentialLife))
		c.byName[cr.username], c.newest[owner] = cr, cr
	}
	return &signaling.Credentials{Servers: c.servers, STUN: c.stun, Relays: c.others(now), Username: cr.username, Password: cr.password, Expires: cr.expires.Unix()}
}

// others are the relays that are not the hub's: a secret stays here, what is made of
// it goes to members.
func (c *credentials) others(now time.Time) (uris []string) {
	for _, r := range c.relays {
		r.Username, r.Password = r.Credentials(now)
		r.Secret = ""
		uris = append(uris, r.URI())
	}
	return uris
}

// authenticate is pion/turn's AuthHandler. It runs before the message's
// integrity is checked, so it decides nothing but the key. Only an Allocate
// looks at the expiry: a relayed tunnel outlives the hub's signaling.
func (c *credentials) authenticate(r *turn.RequestAttributes) (userID string, key []byte, ok bool) {
	cr := c.named(r.Username)
	if cr == nil || r.Method == stun.MethodAllocate && !time.Now().Before(cr.expires) {
		return "", nil, false
	}
	return cr.owner.userID(), cr.key, true
}

// named is the credential with that username, nil if there is none.
func (c *credentials) named(username string) *credential {
	c.mu.Lock()
	cr := c.byName[username]
	c.mu.Unlock()
	if cr != nil {
		return cr
	}
	cr, ok := c.key.open(username)
	if !ok {
		return nil
	}
	now := time.Now()
	refused := func() bool { return now.Before(c.refused[cr.owner]) }
	c.mu.Lock()
	no := refused()
	c.mu.Unlock()
	if no {
		return nil
	}
	member := c.member(cr.owner)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !member {
		c.refused[cr.owner] = now.Add(refusedFor)
	}
	if refused() { // perhaps meanwhile
		return nil
	}
	c.byName[username] = cr
	if newest := c.newest[cr.owner]; newest == nil || newest.expires.Before(cr.expires) {
		c.newest[cr.owner] = cr
	}
	return cr
}

// has says whether the member was given credentials that it may still use.
func (c *credentials) has(owner identity) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest[owner] != nil
}

// forget makes all credentials of the member worthless.
func (c *credentials) forget(owner identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[owner] = time.Now().Add(credentialLife) // those that are known by their seal alone
	delete(c.newest, owner)
	maps.DeleteFunc(c.byName, func(_ string, cr *credential) bool { return cr.owner == owner })
}

// prune forgets expired credentials of those who use the relay no more.
func (c *credentials) prune(now time.Time, inUse func(identity) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.refused, func(_ identity, until time.Time) bool { return now.After(until) })
	for name, cr := range c.byName {
		if now.Before(cr.expires) || inUse(cr.owner) {
			continue
		}
		delete(c.byName, name)
		if c.newest[cr.owner] == cr {
			delete(c.newest, cr.owner)
		}
	}
}

// userID is how pion/turn knows a member: the same for all its credentials,
// so that new ones go on with an old allocation.
func (i identity) userID() string { return string(i.network[:]) + string(i.node[:]) }

func identityOf(userID string) (i identity, ok bool) {
	if len(userID) != len(i.network)+len(i.node) {
		return i, false
	}
	copy(i.network[:], userID)
	copy(i.node[:], userID[len(i.network):])
	return i, true
}
