package peer

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/stun/v4"
)

// The messages of RFC 5769, which others have made: sections 2.1 to 2.4.
const (
	vectorRequest = `00010058 2112a442 b7e7a701 bc34d686 fa87dfae
		80220010 5354554e 20746573 7420636c 69656e74 00240004 6e0001ff
		80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020
		00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf`
	vectorIPv4 = `0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
		8022000b 74657374 20766563 746f7220 00200008 0001a147 e112a643
		00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96`
	vectorIPv6 = `01010048 2112a442 b7e7a701 bc34d686 fa87dfae
		8022000b 74657374 20766563 746f7220 00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
		00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c`
	vectorLongTerm = `00010060 2112a442 78ad3433 c6ad72c0 29da412e
		00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000
		0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341
		0014000b 6578616d 706c652e 6f726700 00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666`

	vectorPassword = "VOkJxbRl1RmTxUk/WvJxBt" // of the first three
)

func vector(t *testing.T, text string) *stun.Message {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	m := &stun.Message{Raw: b}
	if !isSTUN(b) || m.Decode() != nil {
		t.Fatalf("no message: %x", b)
	}
	return m
}

// TestRFC5769 reads the vectors with what checks, probes and the relay's client read
// with, and refuses them where a bit is another.
func TestRFC5769(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		key        stun.MessageIntegrity
		print      bool // with FINGERPRINT
		username   string
		mapped     string
	}{
		{"2.1", vectorRequest, stun.NewShortTermIntegrity(vectorPassword), true, "evtj:h6vY", ""},
		{"2.2", vectorIPv4, stun.NewShortTermIntegrity(vectorPassword), true, "", "192.0.2.1:32853"},
		{"2.3", vectorIPv6, stun.NewShortTermIntegrity(vectorPassword), true, "", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"},
		{"2.4", vectorLongTerm, stun.NewLongTermIntegrity("マトリックス", "example.org", "TheMatrIX"), false, "マトリックス", ""},
	} {
		m := vector(t, tt.text)
		if err := tt.key.Check(m); err != nil {
			t.Errorf("%s: integrity: %v", tt.name, err)
		}
		if err := stun.Fingerprint.Check(m); (err == nil) != tt.print {
			t.Errorf("%s: fingerprint: %v", tt.name, err)
		}
		if got := string(stunUsername(m.Raw)); got != tt.username {
			t.Errorf("%s: username %q, want %q", tt.name, got, tt.username)
		}
		if got, err := addressOf(m, stun.AttrXORMappedAddress); tt.mapped != "" && (err != nil || got != netip.MustParseAddrPort(tt.mapped)) {
			t.Errorf("%s: mapped %v, %v, want %s", tt.name, got, err, tt.mapped)
		}
		for i := range len(m.Raw) - 32 { // up to the integrity itself
			changed := &stun.Message{Raw: bytes.Clone(m.Raw)}
			changed.Raw[i] ^= 0x10
			if isSTUN(changed.Raw) && changed.Decode() == nil && tt.key.Check(changed) == nil {
				t.Errorf("%s: byte %d may be another", tt.name, i)
			}
		}
	}
}

// TestRFC5769Encoding writes what of the vectors is padded with zeros, as we pad.
func TestRFC5769Encoding(t *testing.T) {
	want := vector(t, vectorLongTerm)
	username, realm := stun.NewUsername("マトリックス"), stun.NewRealm("example.org")
	got, err := stun.Build(stun.BindingRequest, stun.NewTransactionIDSetter(want.TransactionID), username,
		stun.NewNonce("f//499k954d6OL34oL9FSTvy64sA"), realm, stun.NewLongTermIntegrity(username.String(), realm.String(), "TheMatrIX"))
	if err != nil || !bytes.Equal(got.Raw, want.Raw) {
		t.Errorf("got %x, %v\nwant %x", got.Raw, err, want.Raw)
	}
}
