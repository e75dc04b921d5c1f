package signaling

import (
	"bytes"
	"slices"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

// What is decoded is the only encoding of what it says: encoded again it is
// the same.

func FuzzParseRecord(f *testing.F) {
	rec, err := SignRecord(testNetwork, goldenRecord())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rec.Bytes())
	f.Add(newTestNode(f, "a", 1).record.Bytes())
	f.Add(goldenBody())
	network := testNetwork.Public()
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := ParseRecord(network, b); err == nil && !bytes.Equal(got.Bytes(), b) {
			t.Errorf("took %x for %x", got.Bytes(), b)
		}
		signed := signBody(testNetwork, b)
		got, err := ParseRecord(network, signed)
		if err != nil {
			return
		}
		again, err := SignRecord(testNetwork, got.Record)
		if err != nil || !bytes.Equal(again.Bytes(), signed) {
			t.Errorf("%x\nencoded again: %x, %v", b, again.Bytes(), err)
		}
	})
}

func FuzzRecordUnmarshal(f *testing.F) {
	f.Add(goldenBody())
	f.Add(newTestNode(f, "a", 1).record.Bytes()[32+signatureSize:])
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		if r.unmarshal(b) != nil {
			return
		}
		if again, err := r.marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x\nencoded again: %x, %v", b, again, err)
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
