package signaling

import (
	"bytes"
	"slices"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

// What is decoded is the only encoding of what it says: encoded again it is
// the same.

// FuzzParseStatement takes the bytes as a statement, and as a body that the
// network's key signs.
func FuzzParseStatement(f *testing.F) {
	for _, g := range goldens() {
		f.Add(byte(g.kind), signBody(g.kind, g.body))
		f.Add(byte(g.kind), g.body)
	}
	f.Add(byte(StatementRecord), newTestNode(f, "a", 1).record.Bytes()[97:])
	f.Fuzz(func(t *testing.T, k byte, b []byte) {
		if s, err := parse(b); err == nil {
			checkStatement(t, s, b)
		}
		signed := signBody(StatementKind(k), b)
		if s, err := parse(signed); err == nil {
			checkStatement(t, s, signed)
			again := resign(t, s)
			if !bytes.Equal(again.Bytes(), signed) {
				t.Errorf("%x\nencoded again: %x", signed, again.Bytes())
			}
		}
	})
}

func checkStatement(t *testing.T, s *Statement, raw []byte) {
	t.Helper()
	_, known := s.Kind.label()
	if !bytes.Equal(s.Bytes(), raw) || !known || s.Node.IsZero() != (s.Kind == StatementHubs) {
		t.Errorf("%x\nwas taken as %+v", raw, s)
	}
}

// resign says the same with the network's key.
func resign(t *testing.T, s *Statement) *Statement {
	t.Helper()
	var again *Statement
	var err error
	switch s.Kind {
	case StatementDelegation:
		again, err = root.Delegate(s.Node)
	case StatementRevocation:
		again, err = root.Revoke(s.Node)
	case StatementHubs:
		again, err = root.Hubs(*s.Hubs())
	case StatementRecord:
		var rec *SignedRecord
		if rec, err = root.Record(s.Record().Record); err == nil {
			again = rec.Statement()
		}
	}
	if err != nil {
		t.Fatalf("what was taken cannot be said: %v", err)
	}
	return again
}

// FuzzMerge has a hostile delegate, whose statements the bytes are, and somebody
// who alters them on the way. The founder and the other delegates stay.
func FuzzMerge(f *testing.F) {
	bad := delegates[0]
	for _, g := range goldens() {
		f.Add(byte(g.kind), g.body, uint16(0), byte(0))
	}
	victim := creator.Public()
	for _, about := range [][]byte{victim[:], bad.network[:], bad.signer[:]} {
		f.Add(byte(StatementDelegation), append([]byte{statementVersion}, about...), uint16(0), byte(0))
		f.Add(byte(StatementRevocation), append([]byte{statementVersion}, about...), uint16(3), byte(1))
	}
	base := raws(founded(f))
	f.Fuzz(func(t *testing.T, k byte, body []byte, at uint16, flip byte) {
		label, _ := StatementKind(k).label()
		raw := slices.Concat([]byte{k}, bad.signer[:], bad.sign(toSign(label, bad.network.ID(), body)), body)
		raw[int(at)%len(raw)] ^= flip
		before, after := newReplica(), newReplica()
		before.take(t, append(slices.Clone(base), raw)...)
		after.take(t, base...)
		after.take(t, raw)
		if !bytes.Equal(before.Digest(), after.Digest()) || members(before.Roster) != members(after.Roster) {
			t.Errorf("%x: the order matters", raw)
		}
		for _, d := range append(slices.Clone(delegates), &testDelegate{root, creator}) {
			rec, member := after.Get(d.node())
			if !member || !after.byNetwork(rec.statement) || !after.IsAdmin(d.node()) {
				t.Errorf("%x: throws %v out, or changes it", raw, d.node())
			}
		}
		if len(after.admins) != 1+len(delegates) {
			t.Errorf("%x: makes an admin", raw)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, m := range testMessages() {
		frame, err := Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	f.Add([]byte(`{"type":"weather","celsius":30}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil || m == nil {
			return
		}
		one, err := Encode(m)
		if err != nil {
			return // JSON may have grown by escapes
		}
		back, err := Decode(one)
		if err != nil {
			t.Fatalf("%s\nencoded again: %s, %v", b, one, err)
		}
		if two, err := Encode(back); err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s\nand again: %s, %v", one, two, err)
		}
	})
}

func FuzzJoinRequest(f *testing.F) {
	r := JoinRequest{Invite: [32]byte{1}, Name: "laptop", Node: config.NodeKey{2}}
	f.Add(r.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		var r JoinRequest
		if r.unmarshal(b) == nil && !bytes.Equal(r.marshal(), b) {
			t.Errorf("%x\nencoded again: %x", b, r.marshal())
		}
	})
}

func FuzzJoinAnswer(f *testing.F) {
	for _, a := range testAnswers() {
		body, err := a.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var a JoinAnswer
		if a.unmarshal(b) != nil {
			return
		}
		if again, err := a.marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x\nencoded again: %x, %v", b, again, err)
		}
	})
}

// FuzzOpenJoinRequest takes the bytes as a message, and as what a stranger who
// knows the keeper's key sealed to it.
func FuzzOpenJoinRequest(f *testing.F) {
	k := newTestKeeper(f)
	j := k.joiner(k.invite(f, InviteOptions{Uses: 2}), "laptop")
	good, p := j.request(f), j.proofs(f, j.content())
	f.Add(good)
	f.Add(slices.Concat(p.body, p.secret, p.wireGuard, p.signature))
	f.Add([]byte{joinRequest})
	keys := func([32]byte) (InviteKeys, bool) { return j.keys, true }
	plain := slices.Concat(p.body, p.secret, p.wireGuard, p.signature)
	info := joinInfo("request", j.self.Network, j.invite.Keeper, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := OpenJoinRequest(k.cfg.Self, k.wg, b, keys); err == nil && !bytes.Equal(b, good) {
			t.Errorf("opened a request that nobody made: %x", b)
		}
		sealed := sealTo(t, j.sealing, joinRequest, info, b)
		if _, err := OpenJoinRequest(k.cfg.Self, k.wg, sealed, keys); err == nil && !bytes.Equal(b, plain) {
			t.Errorf("took proofs that nobody made: %x", b)
		}
	})
}

// FuzzOpenJoinAnswer takes the bytes as a message, and as what the hub, who
// knows the joiner's key, sealed to it.
func FuzzOpenJoinAnswer(f *testing.F) {
	k := newTestKeeper(f)
	j := k.joiner(k.invite(f, InviteOptions{}), "laptop")
	good, _, err := k.Answer(testTime, j.request(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(slices.Concat([]byte{joinVersion, 4}, []byte("used"), make([]byte, signatureSize)))
	hash := j.Joiner.request
	info := joinInfo("answer", j.self.Network, j.invite.Keeper, hash[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := j.Answer(b); err == nil && !bytes.Equal(b, good) {
			t.Errorf("opened an answer that nobody made: %x", b)
		}
		if a, err := j.Answer(sealTo(t, j.self.Sealing.Public(), joinAnswer, info, b)); err == nil {
			t.Errorf("took the hub's answer: %+v", a)
		}
	})
}
