package signaling

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// goldenRecord has something in every field.
func goldenRecord() Record {
	return Record{
		Node: config.NodeKey(count(1, 32)), Sequence: 0x0102030405060708, Expires: time.Unix(2_000_000_000, 0),
		Name: "laptop", IPv4: netip.MustParseAddr("10.77.0.9"), WireGuard: config.WireGuardKey(count(2, 32)),
		Sealing: config.SealingKey(count(3, config.SealingKeySize)), Tags: []string{"lab", "x-1"},
	}
}

// goldenBody is goldenRecord written by hand.
func goldenBody() []byte {
	return slices.Concat(
		[]byte{1}, count(1, 32), []byte{1, 2, 3, 4, 5, 6, 7, 8}, []byte{0, 0, 0, 0, 0x77, 0x35, 0x94, 0},
		[]byte("\x06laptop"), []byte{10, 77, 0, 9}, count(2, 32), count(3, 1216),
		[]byte("\x02\x03lab\x03x-1"))
}

// What an admin signed is still decoded strictly, see also
// TestSignedStatementIsDecodedStrictly.
func TestSignedRecordIsDecodedStrictly(t *testing.T) {
	network := testNetwork.Public()
	edit := func(at int, b ...byte) []byte {
		body := goldenBody()
		copy(body[at:], b)
		return body
	}
	const nameAt, ipAt, tagsAt = 49, 56, 56 + 4 + 32 + 1216
	for _, c := range []struct {
		name string
		body []byte
		want string
	}{
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
		{"the network's key", edit(1, network[:]...), "cannot be a node's"},
		{"no WireGuard key", edit(ipAt+4, make([]byte, 32)...), "a key is missing"},
	} {
		s, err := parse(signBody(StatementRecord, c.body))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %q", c.name, s, err, c.want)
		}
	}
	if rec, err := ParseRecord(network, signBody(StatementRevocation, goldens()[1].body)); err == nil {
		t.Errorf("a revocation is the record %+v", rec)
	}
}

func TestRecordIsRefused(t *testing.T) {
	many := slices.Repeat([]string{"t"}, maxTags+1)
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
		if rec, err := root.Record(r); err == nil {
			t.Errorf("%s: signed %v", name, rec.Record)
		}
	}
	longest := goldenRecord()
	longest.Name, longest.Tags = strings.Repeat("n", 63), slices.Repeat([]string{strings.Repeat("t", 63)}, maxTags)
	if rec, err := root.Record(longest); err != nil || len(rec.Bytes()) > MaxStatementSize {
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
