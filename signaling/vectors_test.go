package signaling

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

var update = flag.Bool("update", false, "write the test vectors anew")

// vector is a JSON object: bytes in hex, numbers above 53 bits in decimal
// strings.
type vector map[string]any

// vectorKeys are the keys of the vectors: a network, an admin and delegate, a
// member, a hub.
type vectorKeys struct {
	network config.NetworkPrivateKey
	admin   config.NodePrivateKey
	node    config.NodePrivateKey
	hub     config.HubPrivateKey
	wg      config.WireGuardPrivateKey
	sealing config.SealingPrivateKey
}

func newVectorKeys(t testing.TB) *vectorKeys {
	t.Helper()
	k := new(vectorKeys)
	for n, key := range []interface{ SetSeed([]byte) error }{&k.network, &k.admin, &k.node, &k.hub, &k.wg, &k.sealing} {
		if err := key.SetSeed(count(byte(0x10*(n+1)), 32)); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// TestVectors compares what this package makes with testdata/vectors, which
// another implementation can use, too. Signatures are Ed25519's (RFC 8032), so
// all of it is deterministic.
func TestVectors(t *testing.T) {
	k := newVectorKeys(t)
	for name, v := range map[string]vector{
		"keys": k.keys(), "statements": k.statements(t), "tokens": k.tokens(), "handshake": k.handshake(), "frames": k.frames(), "session": k.session(),
	} {
		got, err := json.MarshalIndent(v, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		path := filepath.Join("testdata", "vectors", name+".json")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: made\n%s\nwant\n%s", path, got, want)
		}
	}
}

func (k *vectorKeys) keys() vector {
	network, node := k.network.Public(), k.node.Public()
	sealing, wg := k.sealing.Public(), k.wg.Public()
	hash, v6 := sealing.Hash(), NodeIPv6(network.ID(), node)
	return vector{
		"about":     "seeds to public keys; IDs and addresses that follow from them",
		"network":   vector{"seed": hx(k.network.Seed()), "public": hx(network[:]), "id": network.ID().String(), "ipv6_prefix": NetworkIPv6(network.ID()).String()},
		"node":      vector{"seed": hx(k.node.Seed()), "public": hx(arr(node)), "id": node.ID().String(), "ipv6": v6.String()},
		"hub":       vector{"seed": hx(k.hub.Seed()), "public": hx(arr(k.hub.Public())), "id": k.hub.Public().ID().String()},
		"wireguard": vector{"kem": "X25519", "seed": hx(k.wg.Seed()), "public": hx(wg[:])},
		"sealing":   vector{"kem": "MLKEM768X25519", "seed": hx(k.sealing.Seed()), "public": hx(sealing[:]), "hash": hx(hash[:])},
	}
}

// statements are what admins sign, then what has a good signature or form and
// is refused all the same, then the digest of all that counts.
func (k *vectorKeys) statements(t testing.TB) vector {
	network, admin := k.network.Public(), k.admin.Public()
	byNetwork, byDelegate := NetworkAdmin(k.network), DelegateAdmin(network, k.admin)
	rec := goldenRecord()
	rec.Node, rec.WireGuard, rec.Sealing = k.node.Public(), k.wg.Public(), k.sealing.Public()
	plain := rec
	plain.Sequence, plain.Expires, plain.Tags = 1, time.Time{}, nil
	hubs := HubList{Sequence: 2, Hubs: []config.Hub{
		{URLs: []string{"wss://hub.example:443", "ws://[2001:db8::1]:8080"}, Key: k.hub.Public()}, {URLs: []string{"ws://192.0.2.1:443"}, Key: config.HubKey(count(5, 32))},
	}}
	made := map[string][]byte{
		"delegation": stated(t)(byNetwork.Delegate(admin)), "revocation": stated(t)(byNetwork.Revoke(config.NodeKey(count(1, 32)))),
		"hub list": stated(t)(byNetwork.Hubs(hubs)), "record": sign(t, byNetwork, rec),
		"record by a delegate": sign(t, byDelegate, plain), "revocation by a delegate": stated(t)(byDelegate.Revoke(config.NodeKey(count(1, 32)))),
	}
	roster := NewRoster(network)
	merge(t, roster, slices.Collect(maps.Values(made))...)
	good := vector{}
	var hashes [][32]byte
	for name, raw := range made {
		s, err := ParseStatement(network, raw)
		if err != nil {
			t.Fatal(err)
		}
		label, _ := s.Kind.label()
		v := vector{
			"kind": s.Kind, "signer": hx(s.Signer[:]), "signed": hx(toSign(label, network.ID(), raw[97:])),
			"bytes": hx(raw), "sha256": hx(s.hash[:]), "key": hx(s.Key()),
		}
		if s.Kind != StatementHubs {
			v["node"] = hx(s.Node[:])
		}
		if r := s.Record(); r != nil {
			v["record"] = recordVector(r)
		}
		if l := s.Hubs(); l != nil {
			v["hubs"] = vector{"sequence": fmt.Sprint(l.Sequence), "hubs": hubVectors(l.Hubs)}
		}
		good[name] = v
		hashes = append(hashes, s.hash)
	}
	again, _ := byNetwork.Delegate(admin)
	return vector{
		"about":        "kind (1) || signer (32) || signature (64) || body; the signature is over \"signed\"",
		"network_seed": hx(k.network.Seed()), "delegate_seed": hx(k.admin.Seed()), "network_id": hx(arr16(network.ID())),
		"statements": good, "refused": k.refused(again.raw), "digest": hx(Digest(hashes)), "roster_digest": hx(roster.Digest()),
	}
}

// refused are delegations that do not count, by the reason.
func (k *vectorKeys) refused(good []byte) vector {
	network := k.network.Public()
	signed := func(l kind, n byte, body []byte) string {
		return hx(slices.Concat([]byte{n}, network[:], k.network.Sign(toSign(l, network.ID(), body)), body))
	}
	body := good[97:]
	zero := append([]byte{1}, make([]byte, 32)...)
	byItself := slices.Concat([]byte{1}, arr(k.admin.Public()), k.admin.Sign(toSign(kindDelegation, network.ID(), body)), body)
	return vector{
		"signed as a revocation":            signed(kindRevocation, 1, body),
		"signed for another network":        hx(slices.Concat([]byte{1}, network[:], k.network.Sign(toSign(kindDelegation, config.ID{1}, body)), body)),
		"signed by the delegate itself":     hx(byItself),
		"of a newer version":                signed(kindDelegation, 1, slices.Concat([]byte{2}, body[1:])),
		"of an unknown kind":                signed("five", 5, body),
		"a byte longer":                     signed(kindDelegation, 1, append(bytes.Clone(body), 0)),
		"of the zero key":                   signed(kindDelegation, 1, zero),
		"of the network's own key":          signed(kindDelegation, 1, append([]byte{1}, network[:]...)),
		"cut within the header":             hx(good[:96]),
		"with a body of no bytes, unsigned": hx(good[:97]),
	}
}

func recordVector(r *SignedRecord) vector {
	expires := int64(0)
	if !r.Expires.IsZero() {
		expires = r.Expires.Unix()
	}
	return vector{
		"sequence": fmt.Sprint(r.Sequence), "expires": expires, "name": r.Name, "ipv4": r.IPv4.String(),
		"wireguard": hx(r.WireGuard[:]), "sealing": hx(r.Sealing[:]), "tags": append([]string{}, r.Tags...),
	}
}

func hubVectors(hubs []config.Hub) (list []vector) {
	for _, h := range hubs {
		list = append(list, vector{"urls": h.URLs, "key": hx(h.Key[:])})
	}
	return list
}

func (k *vectorKeys) tokens() vector {
	hub := config.Hub{URLs: []string{"wss://192.0.2.1:443", "ws://[2001:db8::1]:8080"}, Key: k.hub.Public()}
	link := config.HubLink{Hub: hub, Access: [config.AccessSize]byte(count(0x40, 16))}
	sealing := k.sealing.Public()
	invite := config.Invite{
		Hub: hub, Network: k.network.Public(), Secret: [config.SecretSize]byte(count(0x60, 16)),
		Keeper: k.node.Public(), KeeperWG: k.wg.Public(), KeeperSeals: sealing.Hash(),
	}
	keys := NewInviteKeys(invite.Network.ID(), invite.Secret)
	hash := keys.TicketHash()
	return vector{
		"about":    "what is pasted, and what an invite's secret yields: HKDF-SHA256, salt network ID, info p2ptun/v1/invite/ticket and /mac",
		"hub":      hubVectors([]config.Hub{hub})[0],
		"hub_link": vector{"access": hx(link.Access[:]), "token": link.Token()},
		"invite": vector{
			"network": hx(invite.Network[:]), "network_id": hx(arr16(invite.Network.ID())), "secret": hx(invite.Secret[:]), "keeper": hx(invite.Keeper[:]),
			"keeper_wireguard": hx(invite.KeeperWG[:]), "keeper_sealing_hash": hx(invite.KeeperSeals[:]), "token": invite.Token(),
		},
		"invite_keys": vector{"ticket": hx(keys.Ticket()), "mac": hx(keys.mac[:]), "ticket_hash": hx(hash[:])},
	}
}

func (k *vectorKeys) handshake() vector {
	v := vector{
		"about":    "hub nonce || node nonce || hub key || node key || TLS exporter (1+n); what is signed has the label and the network ID before it",
		"hub_seed": hx(k.hub.Seed()), "node_seed": hx(k.node.Seed()), "network": hx(arr(k.network.Public())),
		"presence": vector{"epoch": "1234605616436508552", "signature": hx(SignPresence(k.node, k.network.Public().ID(), 0x1122334455667788))},
	}
	for name, exporter := range map[string][]byte{"without_tls": nil, "with_tls": count(0x80, 32)} {
		h := Handshake{
			HubNonce: count(1, NonceSize), NodeNonce: count(101, NonceSize), Hub: k.hub.Public(),
			Network: k.network.Public(), Node: k.node.Public(), TLSExporter: exporter,
		}
		v[name] = vector{
			"hub_nonce": hx(h.HubNonce), "node_nonce": hx(h.NodeNonce), "tls_exporter": hx(exporter), "bytes": hx(h.bytes()),
			"hello": hx(h.SignHello(k.node)), "welcome": hx(h.SignWelcome(k.hub)),
			"access": hx(count(0x40, 16)), "access_proof": hx(h.AccessProof(count(0x40, 16))),
		}
	}
	return v
}

func (k *vectorKeys) frames() vector {
	ours, theirs := count(0x20, 32), count(0x60, 32)
	const session = 0x0102030405060708
	f := newFrames(session, ours, theirs)
	var list []vector
	for n, content := range []string{"one", "", "three"} {
		list = append(list, vector{"counter": n, "content": hx([]byte(content)), "bytes": hx(f.seal([]byte(content)))})
	}
	return vector{
		"about":   "3 || session (8) || counter (8) || ChaCha20-Poly1305 under the sender's key, nonce 0000 || counter, the first 17 bytes authenticated",
		"session": fmt.Sprint(uint64(session)), "key": hx(ours), "frames": list,
	}
}

// session are the keys of a session whose offer and answer, and the secrets that
// both have exported, are given: they are random otherwise.
func (k *vectorKeys) session() vector {
	offerer := &end{k.node.Public(), k.wg.Public(), k.sealing.Public()}
	answerer := &end{k.admin.Public(), config.WireGuardKey(count(7, 32)), config.SealingKey(count(8, config.SealingKeySize))}
	e := ends{network: k.network.Public().ID(), from: offerer, to: answerer}
	offer, answer, one, two := []byte("offer"), []byte("answer"), count(0x10, exportLen), count(0x50, exportLen)
	s := sessionKeys(e, offer, answer, one, two)
	v := vector{
		"about":      "HKDF-SHA256(offer's export || answer's export, salt = SHA-256 of the transcript, info = p2ptun/v1/ and a label)",
		"network_id": hx(arr16(e.network)), "offer": hx(offer), "answer": hx(answer), "offer_export": hx(one), "answer_export": hx(two),
		"transcript_head": hx(e.info("transcript", nil)),
		"frames/offerer":  hx(s.offerer), "frames/answerer": hx(s.answerer), "preshared": hx(s.preshared.Seed()),
	}
	for name, side := range map[string]*end{"offerer": offerer, "answerer": answerer} {
		v[name] = vector{"node": hx(side.node[:]), "wireguard": hx(side.wireGuard[:])}
	}
	return v
}

// TestVectorsAreRead takes the vectors as another implementation would.
func TestVectorsAreRead(t *testing.T) {
	var v struct {
		Statements map[string]struct{ Bytes string }
		Refused    map[string]string
		Digest     string
	}
	raw, err := os.ReadFile(filepath.Join("testdata", "vectors", "statements.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &v); err != nil || len(v.Statements) != 6 || len(v.Refused) != 10 {
		t.Fatalf("%v: %d statements, %d refused", err, len(v.Statements), len(v.Refused))
	}
	r := NewRoster(newVectorKeys(t).network.Public())
	for name, s := range v.Refused {
		if c := r.Merge(unhex(t, s)); len(c.Taken) != 0 || c.Err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	var all [][]byte
	for _, s := range v.Statements {
		all = append(all, unhex(t, s.Bytes))
	}
	if c := merge(t, r, all...); len(c.Taken) != 6 || hx(r.Digest()) != v.Digest {
		t.Errorf("%d taken, digest %x", len(c.Taken), r.Digest())
	}
}

func hx(b []byte) string { return hex.EncodeToString(b) }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func arr[K ~[32]byte](k K) []byte   { return k[:] }
func arr16[K ~[16]byte](k K) []byte { return k[:] }
