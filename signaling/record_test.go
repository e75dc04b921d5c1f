package signaling

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

func count(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// goldenRecord has something in every field.
func goldenRecord() Record {
	return Record{
		Node: config.NodeKey(count(1, 32)), Sequence: 0x0102030405060708, Expires: time.Unix(2_000_000_000, 0),
		Name: "laptop", IPv4: netip.MustParseAddr("10.77.0.9"), WireGuard: config.WireGuardKey(count(2, 32)),
		Sealing: config.SealingKey(count(3, config.SealingKeySize)), Replaces: config.NodeKey(count(4, 32)),
		Tags: []string{"lab", "x-1"},
	}
}

// goldenBody is goldenRecord written by hand.
func goldenBody() []byte {
	return slices.Concat(
		[]byte{1}, count(1, 32), []byte{1, 2, 3, 4, 5, 6, 7, 8}, []byte{0, 0, 0, 0, 0x77, 0x35, 0x94, 0},
		[]byte("\x06laptop"), []byte{10, 77, 0, 9}, count(2, 32), count(3, 1216), count(4, 32),
		[]byte("\x02\x03lab\x03x-1"))
}

// signBody signs any bytes as a record.
func signBody(key config.NetworkPrivateKey, body []byte) []byte {
	pub := key.Public()
	return slices.Concat(pub[:], key.Sign(toSign(kindRecord, pub.ID(), body)), body)
}

func TestGoldenRecord(t *testing.T) {
	want := goldenRecord()
	rec, err := SignRecord(testNetwork, want)
	if err != nil {
		t.Fatal(err)
	}
	if body := rec.Bytes()[32+signatureSize:]; !bytes.Equal(body, goldenBody()) {
		t.Errorf("body\n got %x\nwant %x", body, goldenBody())
	}
	// Ed25519 signs the same bytes the same way (RFC 8032).
	const hash = "398c100853fedf1a33b0ce82f281f66464d0fba2e2f6491c4cf83989c0d95851"
	if h := rec.Hash(); hex.EncodeToString(h[:]) != hash {
		t.Errorf("hash %x, want %s", h, hash)
	}
	if h := sha256.Sum256(rec.Bytes()); h != rec.Hash() {
		t.Errorf("Hash is not SHA-256 of Bytes")
	}
	got, err := ParseRecord(testNetwork.Public(), rec.Bytes())
	if err != nil || !reflect.DeepEqual(got.Record, want) {
		t.Errorf("came back as %+v, %v", got, err)
	}
}

func TestAlteredRecordIsNotSigned(t *testing.T) {
	rec, err := SignRecord(testNetwork, goldenRecord())
	if err != nil {
		t.Fatal(err)
	}
	for i := range rec.Bytes() {
		bad := bytes.Clone(rec.Bytes())
		bad[i] ^= 0x40
		if _, err := ParseRecord(testNetwork.Public(), bad); !errors.Is(err, ErrSignature) {
			t.Fatalf("byte %d altered: %v, want ErrSignature", i, err)
		}
	}
	for n := range rec.Bytes() {
		if _, err := ParseRecord(testNetwork.Public(), rec.Bytes()[:n]); !errors.Is(err, ErrSignature) {
			t.Fatalf("cut to %d: %v, want ErrSignature", n, err)
		}
	}
	if _, err := ParseRecord(testNetwork.Public(), append(bytes.Clone(rec.Bytes()), 0)); !errors.Is(err, ErrSignature) {
		t.Errorf("a byte more: %v, want ErrSignature", err)
	}
}

func TestRecordOfAnotherSigner(t *testing.T) {
	other := config.NewNetworkKey()
	rec, err := SignRecord(other, goldenRecord())
	if err != nil {
		t.Fatal(err)
	}
	ours := testNetwork.Public()
	body := rec.Bytes()[32+signatureSize:]
	for name, raw := range map[string][]byte{
		"another network's":          rec.Bytes(),
		"another's, under our name":  slices.Concat(ours[:], rec.Bytes()[32:]),
		"ours for another network":   slices.Concat(ours[:], testNetwork.Sign(toSign(kindRecord, other.Public().ID(), body)), body),
		"ours, of another kind":      slices.Concat(ours[:], testNetwork.Sign(toSign(kindJoin, ours.ID(), body)), body),
		"the member's own signature": slices.Concat(ours[:], config.NewNodeKey().Sign(toSign(kindRecord, ours.ID(), body)), body),
	} {
		if _, err := ParseRecord(ours, raw); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v, want ErrSignature", name, err)
		}
	}
}

// What an admin signed is still decoded strictly.
func TestSignedRecordIsDecodedStrictly(t *testing.T) {
	edit := func(at int, b ...byte) []byte {
		body := goldenBody()
		copy(body[at:], b)
		return body
	}
	const nameAt, ipAt, tagsAt = 49, 56, 56 + 4 + 32 + 1216 + 32
	for _, c := range []struct {
		name string
		body []byte
		want string
	}{
		{"as it is", goldenBody(), ""},
		{"newer version", edit(0, 2), "newer p2ptun"},
		{"version zero", edit(0, 0), "newer p2ptun"},
		{"a byte more", append(goldenBody(), 0), "not well formed"},
		{"name longer than the rest", edit(nameAt, 255), "not well formed"},
		{"name shorter", edit(nameAt, 5), "not well formed"},
		{"a tag more", edit(tagsAt, 3), "not well formed"},
		{"a tag fewer", edit(tagsAt, 1), "not well formed"},
		{"seventeen tags", append(edit(tagsAt, 17), bytes.Repeat([]byte("\x01a"), 15)...), "not well formed"},
		{"expires too late", edit(41, 1), "not well formed"},
		{"name in capitals", edit(nameAt+1, 'L'), "may hold only"},
		{"tag in capitals", edit(tagsAt+2, 'L'), "may hold only"},
		{"address zero", edit(ipAt, 0, 0, 0, 0), "no IPv4 address of a host"},
		{"loopback", edit(ipAt, 127, 0, 0, 1), "no IPv4 address of a host"},
		{"multicast", edit(ipAt, 224, 0, 0, 1), "no IPv4 address of a host"},
		{"no node key", edit(1, make([]byte, 32)...), "a key is missing"},
		{"no WireGuard key", edit(ipAt+4, make([]byte, 32)...), "a key is missing"},
	} {
		rec, err := ParseRecord(testNetwork.Public(), signBody(testNetwork, c.body))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrSignature)):
			t.Errorf("%s: %v, %v, want %q", c.name, rec, err, c.want)
		}
	}
	for n := range goldenBody() {
		if _, err := ParseRecord(testNetwork.Public(), signBody(testNetwork, goldenBody()[:n])); err == nil {
			t.Errorf("body cut to %d bytes: taken", n)
		}
	}
	long := append(goldenBody(), make([]byte, MaxRecordSize)...)
	if _, err := ParseRecord(testNetwork.Public(), signBody(testNetwork, long)); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("too long: %v", err)
	}
}

func TestSignRecordRefuses(t *testing.T) {
	many := make([]string, maxTags+1)
	for i := range many {
		many[i] = "t"
	}
	for name, change := range map[string]func(*Record){
		"IPv6":            func(r *Record) { r.IPv4 = netip.MustParseAddr("2001:db8::1") },
		"no address":      func(r *Record) { r.IPv4 = netip.Addr{} },
		"no name":         func(r *Record) { r.Name = "" },
		"reserved name":   func(r *Record) { r.Name = "localhost" },
		"no node key":     func(r *Record) { r.Node = config.NodeKey{} },
		"too many tags":   func(r *Record) { r.Tags = many },
		"an empty tag":    func(r *Record) { r.Tags = []string{""} },
		"before 1970":     func(r *Record) { r.Expires = time.Unix(-1, 0) },
		"no WireGuard":    func(r *Record) { r.WireGuard = config.WireGuardKey{} },
		"in a far future": func(r *Record) { r.Expires = time.Unix(1<<50, 0) },
	} {
		r := goldenRecord()
		change(&r)
		if rec, err := SignRecord(testNetwork, r); err == nil {
			t.Errorf("%s: signed %v", name, rec.Record)
		}
	}
	longest := goldenRecord()
	longest.Name, longest.Tags = strings.Repeat("n", 63), many[:maxTags]
	for i := range longest.Tags {
		longest.Tags[i] = strings.Repeat("t", 63)
	}
	if _, err := SignRecord(testNetwork, longest); err != nil {
		t.Errorf("the longest: %v", err)
	}
}

func TestRecordLive(t *testing.T) {
	r := goldenRecord()
	for _, c := range []struct {
		expires, now int64
		want         bool
	}{{1000, 999, true}, {1000, 1000, false}, {1000, 1001, false}, {0, 1 << 40, true}} {
		r.Expires = time.Time{}
		if c.expires != 0 {
			r.Expires = time.Unix(c.expires, 0)
		}
		if got := r.Live(time.Unix(c.now, 0)); got != c.want {
			t.Errorf("expires %d, at %d: live %v, want %v", c.expires, c.now, got, c.want)
		}
	}
}

// Every node computes these addresses for itself, so they never change.
func TestIPv6(t *testing.T) {
	network := config.ID(count(1, 16))
	r := goldenRecord()
	if got, want := NetworkIPv6(network), netip.MustParsePrefix("fd37:baf:c4ca:5018::/64"); got != want {
		t.Errorf("prefix %v, want %v", got, want)
	}
	want := []netip.Addr{netip.MustParseAddr("10.77.0.9"), netip.MustParseAddr("fd37:baf:c4ca:5018:6986:6d8e:922e:5eba")}
	if got := r.Addresses(network); !slices.Equal(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
	if !NetworkIPv6(network).Contains(want[1]) || !want[1].IsPrivate() {
		t.Errorf("%v is outside of the network's prefix, or not private", want[1])
	}
	if NodeIPv6(network, config.NodeKey{1}) == NodeIPv6(network, config.NodeKey{2}) || NetworkIPv6(network) == NetworkIPv6(config.ID{}) {
		t.Error("two have the same address")
	}
}
