package signaling

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

// proofs is a request taken apart, to be put together wrongly.
type proofs struct {
	body, secret, wireGuard, signature []byte
}

func (j *testJoiner) proofs(t testing.TB, r JoinRequest) proofs {
	t.Helper()
	shared, err := wireGuardProof(j.wg, j.invite.KeeperWG)
	if err != nil {
		t.Fatal(err)
	}
	body := r.marshal()
	return proofs{
		body: body, secret: joinMAC(j.keys.mac[:], body), wireGuard: joinMAC(shared, body),
		signature: j.self.Node.Sign(toSign(kindJoinRequest, j.self.Network, slices.Concat(j.invite.Keeper[:], body))),
	}
}

func (j *testJoiner) content() JoinRequest {
	return JoinRequest{Invite: j.keys.TicketHash(), Name: j.name, Node: j.node(), WireGuard: j.wg.Public(), Sealing: j.self.Sealing.Public()}
}

// seal seals the proofs to the keeper.
func (p proofs) seal(t testing.TB, j *testJoiner) []byte {
	t.Helper()
	return sealTo(t, j.sealing, joinRequest, joinInfo("request", j.self.Network, j.invite.Keeper, nil),
		slices.Concat(p.body, p.secret, p.wireGuard, p.signature))
}

func sealTo(t testing.TB, to config.SealingKey, kind byte, info, plain []byte) []byte {
	t.Helper()
	key, err := to.HPKE()
	if err != nil {
		t.Fatal(err)
	}
	enc, sender, err := newJoinSender(key, info)
	if err != nil {
		t.Fatal(err)
	}
	box, err := sender.Seal(nil, plain)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat([]byte{kind}, enc, box)
}

func TestRequestWithoutAProofIsNotAnswered(t *testing.T) {
	k := newTestKeeper(t)
	invite := k.invite(t, InviteOptions{Uses: 100})
	j, other := k.joiner(invite, "laptop"), k.joiner(invite, "other")
	elsewhere := k.joiner(invite, "laptop")
	elsewhere.invite.Keeper = other.node()
	good, others := j.proofs(t, j.content()), other.proofs(t, other.content())

	ofAnotherSecret := invite
	ofAnotherSecret.Secret[0] ^= 1
	guesser := k.joiner(ofAnotherSecret, "laptop")
	guess := guesser.content()
	guess.Invite = j.keys.TicketHash() // known to the hub

	otherWG := j.content()
	otherWG.WireGuard = other.wg.Public()
	smallWG := j.content()
	smallWG.WireGuard = config.WireGuardKey{1}
	badSealing := j.content()
	for i := range badSealing.Sealing {
		badSealing.Sealing[i] = 0xff
	}
	badName, noInvite := j.content(), j.content()
	badName.Name = "localhost"
	noInvite.Invite[0] ^= 1

	with := func(change func(*proofs)) []byte {
		p := good
		change(&p)
		return p.seal(t, j)
	}
	for _, c := range []struct {
		name string
		msg  []byte
		want string
	}{
		{"secret missing", with(func(p *proofs) { p.secret = make([]byte, 32) }), "no such invite"},
		{"secret of another request", with(func(p *proofs) { p.secret = others.secret }), "no such invite"},
		{"secret guessed", guesser.proofs(t, guess).seal(t, j), "no such invite"},
		{"invite unknown", j.proofs(t, noInvite).seal(t, j), "no such invite"},
		{"WireGuard missing", with(func(p *proofs) { p.wireGuard = make([]byte, 32) }), "WireGuard key is not proved"},
		{"WireGuard of another request", with(func(p *proofs) { p.wireGuard = others.wireGuard }), "WireGuard key is not proved"},
		{"another's WireGuard key", j.proofs(t, otherWG).seal(t, j), "WireGuard key is not proved"},
		{"WireGuard key of small order", j.proofs(t, smallWG).seal(t, j), "WireGuard key is not proved"},
		{"signature missing", with(func(p *proofs) { p.signature = make([]byte, 64) }), ErrSignature.Error()},
		{"another's signature", with(func(p *proofs) { p.signature = other.self.Node.Sign([]byte("x")) }), ErrSignature.Error()},
		{"signature for another keeper", with(func(p *proofs) { p.signature = elsewhere.proofs(t, elsewhere.content()).signature }), ErrSignature.Error()},
		{"sealing key that is none", j.proofs(t, badSealing).seal(t, j), "sealing key"},
		{"reserved name", j.proofs(t, badName).seal(t, j), "reserved"},
		{"a proof short", with(func(p *proofs) { p.signature = nil }), ""},
		{"nothing inside", with(func(p *proofs) { *p = proofs{} }), ""},
		{"a byte more", with(func(p *proofs) { p.body = append(bytes.Clone(p.body), 0) }), ""},
	} {
		msg, _, err := k.Answer(testTime, c.msg)
		if err == nil || msg != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: answered with %d bytes, error %v, want %q", c.name, len(msg), err, c.want)
		}
	}
	if n := len(k.invites[0].Admitted); n != 0 {
		t.Errorf("%d uses counted", n)
	}
	if _, _, err := k.Answer(testTime, good.seal(t, j)); err != nil {
		t.Errorf("with all proofs: %v", err)
	}
}

func TestAlteredRequest(t *testing.T) {
	k := newTestKeeper(t)
	j := k.joiner(k.invite(t, InviteOptions{}), "laptop")
	good := j.request(t)
	for _, i := range []int{0, 1, 500, encSize, encSize + 1, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, _, err := k.Answer(testTime, bad); err == nil {
			t.Errorf("byte %d altered: answered", i)
		}
	}
	for _, msg := range [][]byte{nil, {joinRequest}, good[:encSize], good[:len(good)-1], append(bytes.Clone(good), 0), make([]byte, MaxSealed+1)} {
		if _, _, err := k.Answer(testTime, msg); err == nil {
			t.Errorf("%d bytes: answered", len(msg))
		}
	}
	stranger := newTestKeeper(t) // to whom nothing here is sealed
	if _, _, err := stranger.Answer(testTime, good); !errors.Is(err, errSeal) {
		t.Errorf("another keeper: %v, want %v", err, errSeal)
	}
}

func TestJoinerTakesOnlyItsKeepersAnswer(t *testing.T) {
	k := newTestKeeper(t)
	i := k.invite(t, InviteOptions{Uses: 10})
	j, other := k.joiner(i, "laptop"), k.joiner(i, "other")
	request := j.request(t)
	req, err := OpenJoinRequest(k.cfg.Self, k.wg, request, func([32]byte) (InviteKeys, bool) { return j.keys, true })
	if err != nil {
		t.Fatal(err)
	}
	answer := func(self *Self, request []byte) []byte {
		msg, _, err := SealJoinAnswer(self, req, request, &JoinAnswer{Refusal: CodeUsed})
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	good := answer(k.cfg.Self, request)
	foreign := *k.cfg.Self // another node that the hub would pass for the keeper
	foreign.Node = config.NewNodeKey()
	hash := j.Joiner.request
	forged := sealTo(t, j.self.Sealing.Public(), joinAnswer, joinInfo("answer", j.self.Network, j.invite.Keeper, hash[:]),
		slices.Concat([]byte{joinVersion, 4}, []byte("used"), make([]byte, 64)))
	wrongKind := bytes.Clone(good)
	wrongKind[0] = joinRequest
	for name, msg := range map[string][]byte{
		"another node's":             answer(&foreign, request),
		"sealed by nobody":           forged,
		"to another request":         answer(k.cfg.Self, other.request(t)),
		"to an altered request":      answer(k.cfg.Self, append(bytes.Clone(request), 0)),
		"of another kind":            wrongKind,
		"cut":                        good[:len(good)-1],
		"nothing":                    nil,
		"its own request, reflected": request,
	} {
		if a, err := j.Answer(msg); err == nil {
			t.Errorf("%s: taken as %+v", name, a)
		}
	}
	if _, err := other.Answer(good); err == nil {
		t.Error("another joiner opened it")
	}
	fresh := &testJoiner{NewJoiner(j.self, j.wg, i), j.sealing, "renamed"} // after a restart: another request
	fresh.request(t)
	if _, err := fresh.Answer(good); err == nil {
		t.Error("an answer to an earlier request was taken")
	}
	if a, err := j.Answer(good); err != nil || a.Refusal != CodeUsed {
		t.Errorf("the keeper's own: %+v, %v", a, err)
	}
}

func TestRequestFails(t *testing.T) {
	k := newTestKeeper(t)
	j := k.joiner(k.invite(t, InviteOptions{}), "laptop")
	foreign := config.NewSealingKey().Public()
	if _, err := j.Request(foreign, "laptop"); err == nil || !strings.Contains(err.Error(), "another key than the invite names") {
		t.Errorf("another sealing key: %v", err)
	}
	for _, name := range []string{"", "Laptop", strings.Repeat("x", 300)} {
		if _, err := j.Request(j.sealing, name); err == nil {
			t.Errorf("name %.10q: no error", name)
		}
	}
	j.invite.KeeperWG = config.WireGuardKey{}
	if _, err := j.Request(j.sealing, "laptop"); err == nil {
		t.Error("a keeper's WireGuard key of small order was taken")
	}
}

func TestInviteKeys(t *testing.T) {
	network, secret := config.ID{1}, [config.SecretSize]byte{2}
	k := NewInviteKeys(network, secret)
	if got := NewInviteKeys(network, secret); got != k {
		t.Error("the same invite has two keys")
	}
	if NewInviteKeys(config.ID{2}, secret) == k || NewInviteKeys(network, [config.SecretSize]byte{3}) == k {
		t.Error("two invites have the same keys")
	}
	if bytes.Equal(k.Ticket(), k.mac[:]) {
		t.Error("the ticket, which the hub sees, is the key of the proof")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%d", "%s", "%q"} {
		if got := fmt.Sprintf(verb, k); got != "invite keys" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func testAnswers() map[string]JoinAnswer {
	return map[string]JoinAnswer{
		"refusal": {Refusal: CodeExpired},
		"admission": {
			NetworkName: "home", Prefix: netip.MustParsePrefix("10.77.0.0/16"), DiscoveryKey: [32]byte{1},
			Statements: [][]byte{count(1, 130), goldenBody()},
		},
		"no statements": {NetworkName: "home", Prefix: netip.MustParsePrefix("10.0.0.0/8")},
	}
}

func TestJoinBodies(t *testing.T) {
	for name, want := range testAnswers() {
		body, err := want.marshal()
		if err != nil {
			t.Fatal(err)
		}
		var got JoinAnswer
		if err := got.unmarshal(body); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: came back as %+v, %v", name, got, err)
		}
		strict(t, name, body, func(b []byte) error { return new(JoinAnswer).unmarshal(b) })
	}
	want := JoinRequest{Invite: [32]byte{1}, Name: "laptop", Node: config.NodeKey{2}, WireGuard: config.WireGuardKey{3}, Sealing: config.SealingKey{4}}
	var got JoinRequest
	if err := got.unmarshal(want.marshal()); err != nil || got != want {
		t.Errorf("came back as %+v, %v", got, err)
	}
	strict(t, "request", want.marshal(), func(b []byte) error { return new(JoinRequest).unmarshal(b) })
}

// strict finds a decoder that takes less, more, or another version.
func strict(t *testing.T, name string, body []byte, decode func([]byte) error) {
	t.Helper()
	for n := range body {
		if decode(body[:n]) == nil {
			t.Errorf("%s cut to %d bytes: taken", name, n)
		}
	}
	if decode(append(bytes.Clone(body), 0)) == nil {
		t.Errorf("%s with a byte more: taken", name)
	}
	newer := bytes.Clone(body)
	newer[0]++
	if err := decode(newer); !errors.Is(err, errVersion) {
		t.Errorf("%s of another version: %v, want %v", name, err, errVersion)
	}
}

func TestJoinAnswerIsDecodedStrictly(t *testing.T) {
	for name, change := range map[string]func(*JoinAnswer){
		"host bits in the prefix": func(a *JoinAnswer) { a.Prefix = netip.MustParsePrefix("10.77.0.1/16") },
		"prefix too long":         func(a *JoinAnswer) { a.Prefix = netip.PrefixFrom(netip.MustParseAddr("10.77.0.0"), 33) },
		"a bad network name":      func(a *JoinAnswer) { a.NetworkName = "Home" },
		"no network name":         func(a *JoinAnswer) { a.NetworkName = "" },
	} {
		a := testAnswers()["admission"]
		change(&a)
		body, err := a.marshal()
		if err != nil {
			t.Fatal(err)
		}
		if err := new(JoinAnswer).unmarshal(body); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
