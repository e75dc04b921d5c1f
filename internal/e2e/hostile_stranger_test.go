package e2e

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// TestStranger: an invite lets in whom its keeper lets in, and nobody else,
// whatever the hub does for him. See also TestBadInvites.
func TestStranger(t *testing.T) {
	t.Parallel()
	l := newHostileLab(t)
	l.attack("right ticket, wrong secret", l.wrongSecret)
	l.attack("another network's invite", l.anotherNetwork)
	l.attack("a revoked invite", l.revokedInvite)
	l.t.Run("two at once", l.twoAtOnce)
}

// wrongSecret: the hub knows tickets, as joiners show them, and lets its friends
// knock with them. Without the secret nobody gets an answer.
func (l *hostileLab) wrongSecret(t *testing.T) {
	token := l.invite(l.a)
	good := must(config.ParseInvite(token)).Secret
	ticket := signaling.NewInviteKeys(l.network.Public().ID(), good).Ticket()
	other := newPuppet(t, l.ctx, l.place("public", "other"), token, "other", func(p *puppet) {
		p.ticket = func() []byte { return ticket }
		p.invite.Secret[0] ^= 1 // its request names another invite
	})
	forger := newPuppet(t, l.ctx, l.place("public", "forger"), token, "forger", func(p *puppet) {
		p.ticket = func() []byte { return ticket }
		p.invite.Secret[0] ^= 1
		p.request = func(to config.SealingKey) []byte { return forgedRequest(p, to, ticket) }
	})
	l.warned(t, l.a, "join request", 2)
	for _, p := range []*puppet{other, forger} {
		if p.member() {
			t.Errorf("%s was let in", p.name)
		}
	}
	if n := count(l.a.Log(), "join request", "no such invite"); n < 2 {
		t.Errorf("%d requests were refused for their secret", n)
	}
}

// forgedRequest names an invite, and proves no secret (see signaling/joinwire.go).
func forgedRequest(p *puppet, to config.SealingKey, ticket []byte) []byte {
	hash, node, sealing := sha256.Sum256(ticket), p.key(), p.self.Sealing.Public()
	body := slices.Concat([]byte{1}, hash[:], []byte{6}, []byte("forger"), node[:], p.self.WireGuard[:], sealing[:])
	info := slices.Concat([]byte("p2ptun/v1/join/request\x00"), p.self.Network[:], p.invite.Keeper[:])
	enc, sender, err := hpke.NewSender(must(to.HPKE()), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info)
	if err != nil {
		panic(err)
	}
	return slices.Concat([]byte{1}, enc, must(sender.Seal(nil, append(body, make([]byte, 32+32+64)...))))
}

// anotherNetwork: an invite of one network is no invite of another, at the same
// hub and keeper.
func (l *hostileLab) anotherNetwork(t *testing.T) {
	invite := must(config.ParseInvite(l.invite(l.a)))
	invite.Network = config.NewNetworkKey().Public()
	_, err := l.rig.Node(l.place("public", "x")).Up(l.ctx, invite.Token())
	refused(t, err, "nobody keeps this invite")
}

// revokedInvite: the hub does not say that an invite was revoked, and lets the
// machine knock; its keeper does.
func (l *hostileLab) revokedInvite(t *testing.T) {
	token := l.invite(l.a)
	l.evil.hostile(func(s *seat, up bool, m signaling.Message) []signaling.Message {
		if tickets, ok := m.(*signaling.Tickets); ok {
			for i := range tickets.Tickets {
				tickets.Tickets[i].State = signaling.TicketOpen
			}
		}
		return []signaling.Message{m}
	})
	defer l.evil.hostile(nil)
	var kept []signaling.InviteInfo
	if err := json.Unmarshal([]byte(l.must(l.a, "invite", "list", "--json")), &kept); err != nil {
		t.Fatal(err)
	}
	l.must(l.a, "invite", "revoke", kept[0].ID) // the newest
	_, err := l.rig.Node(l.place("public", "y")).Up(l.ctx, token)
	refused(t, err, "the invite has been revoked")
}

// twoAtOnce: of two machines that ask at the same time with an invite that is
// good once, one gets in.
func (l *hostileLab) twoAtOnce(t *testing.T) {
	token := l.invite(l.a)
	var both []*puppet
	for _, name := range []string{"left", "right"} {
		both = append(both, newPuppet(t, l.ctx, l.place("public", name), token, name))
	}
	for _, p := range both {
		p.wait("an answer", func() bool { return p.proof != nil || len(p.refused) > 0 })
	}
	if both[0].member() == both[1].member() {
		t.Errorf("both or none were let in: %v, %v", both[0].member(), both[1].member())
	}
}
