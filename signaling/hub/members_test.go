package hub

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

func digestOf(records [][]byte, network config.NetworkKey) []byte {
	var hashes [][32]byte
	for _, raw := range records {
		if r, err := signaling.ParseRecord(network, raw); err == nil {
			hashes = append(hashes, r.Statement().Hash())
		}
	}
	return signaling.Digest(hashes)
}

// pages reads a snapshot page by page.
func (c *wsClient) pages() (pages []*signaling.Members) {
	c.t.Helper()
	for {
		m := expect[*signaling.Members](c)
		pages = append(pages, m)
		if !m.More {
			return pages
		}
	}
}

func TestSnapshotOf200Members(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	admin := newMember(t, network, 0)
	c := connect(t, h, admin)
	const n = 200
	all := map[string]bool{string(admin.record.Bytes()): true}
	var batch [][]byte
	for i := 1; i < n; i++ {
		r := newMember(t, network, i).record.Bytes()
		all[string(r)] = true
		if batch = append(batch, r); len(batch) == 25 || i == n-1 {
			c.send(&signaling.Members{Statements: batch})
			batch = nil
		}
	}
	c.settled()

	b := newMember(t, network, 300)
	all[string(b.record.Bytes())] = true
	cb := dial(t, h).hello(b)
	expect[*signaling.Welcome](cb)
	pages := cb.pages()
	var got [][]byte
	for i, p := range pages {
		frame, err := signaling.Encode(p)
		if err != nil || len(frame) > signaling.MaxFrame {
			t.Fatalf("page %d: %d bytes, %v", i, len(frame), err)
		}
		if last := i == len(pages)-1; last != (p.Digest != nil) {
			t.Errorf("page %d of %d: digest %x", i, len(pages), p.Digest)
		}
		got = append(got, p.Statements...)
	}
	for _, r := range got {
		if !all[string(r)] {
			t.Error("a record twice, or one that nobody published")
		}
		delete(all, string(r))
	}
	if len(all) != 0 {
		t.Errorf("%d records are missing", len(all))
	}
	last := pages[len(pages)-1]
	if want := digestOf(got, network.Public()); !bytes.Equal(last.Digest, want) {
		t.Errorf("digest %x, want %x", last.Digest, want)
	}
	if len(pages) < 5 || last.Sequence != n+1 {
		t.Errorf("%d pages up to sequence %d, want several up to %d", len(pages), last.Sequence, n+1)
	}
}

// The longest records make shorter pages.
func TestLongRecords(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	a := newMember(t, network, 1)
	c := connect(t, h, a)
	tags := make([]string, 16)
	for i := range tags {
		tags[i] = strings.Repeat("t", 63)
	}
	const n = 40
	for i := range n {
		b := newMember(t, network, i)
		c.send(&signaling.Members{Statements: [][]byte{b.sign(t, signaling.Record{Sequence: 1, Tags: tags}, i).Bytes()}})
	}
	c.settled()
	since := uint64(0)
	c.send(&signaling.Members{Since: &since})
	var got int
	for _, p := range c.pages() {
		got += len(p.Statements)
	}
	if got != n+1 {
		t.Errorf("%d records, want %d", got, n+1)
	}
}

func TestSince(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	a, b := newMember(t, network, 1), newMember(t, network, 2)
	connect(t, h, a)
	connect(t, h, b)
	want := digestOf([][]byte{a.record.Bytes(), b.record.Bytes()}, network.Public())

	tests := []struct {
		since   uint64
		records int
	}{{0, 2}, {1, 1}, {2, 0}, {3, 2}, {1 << 63, 2}}
	check := func(how string, since uint64, n int, pages []*signaling.Members) {
		t.Helper()
		last := pages[len(pages)-1]
		if len(pages) != 1 || len(last.Statements) != n || last.Sequence != 2 || !bytes.Equal(last.Digest, want) {
			t.Errorf("%s, since %d: got %d pages, %d records up to %d, digest %x; want %d up to 2, digest %x",
				how, since, len(pages), len(last.Statements), last.Sequence, last.Digest, n, want)
		}
	}
	for _, tt := range tests {
		c := dial(t, h).hello(b, func(m *signaling.Hello) { m.Since = tt.since })
		expect[*signaling.Welcome](c)
		check("hello", tt.since, tt.records, c.pages())
		expect[*signaling.Presence](c)
		expect[*signaling.Credentials](c)
		c.send(&signaling.Members{Since: &tt.since})
		check("asked", tt.since, tt.records, c.pages())
	}
}

// Of two records for one node the higher sequence stands, then the lower
// hash, in whatever order they come.
func TestWhichRecordStands(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	a, b := newMember(t, network, 1), newMember(t, network, 2)
	c := connect(t, h, a)
	one := b.sign(t, signaling.Record{Sequence: 1}, 2)
	two, twin := b.sign(t, signaling.Record{Sequence: 2}, 3), b.sign(t, signaling.Record{Sequence: 2}, 4)
	if twin.Statement().Supersedes(two.Statement()) {
		two, twin = twin, two
	}
	steps := []struct {
		name    string
		records []*signaling.SignedRecord
		stands  *signaling.SignedRecord
		changes bool
	}{
		{"first", []*signaling.SignedRecord{one}, one, true},
		{"the same again", []*signaling.SignedRecord{one}, one, false},
		{"two in one frame", []*signaling.SignedRecord{twin, one}, twin, true},
		{"equal, lower hash", []*signaling.SignedRecord{two}, two, true},
		{"equal, higher hash", []*signaling.SignedRecord{twin}, two, false},
		{"older", []*signaling.SignedRecord{one}, two, false},
	}
	for _, s := range steps {
		var raw [][]byte
		for _, r := range s.records {
			raw = append(raw, r.Bytes())
		}
		c.send(&signaling.Members{Statements: raw})
		if s.changes {
			if m := expect[*signaling.Members](c); len(m.Statements) != 1 || !bytes.Equal(m.Statements[0], s.stands.Bytes()) {
				t.Errorf("%s: the delta has %d records, want the one that stands", s.name, len(m.Statements))
			}
		}
		c.settled()
		e, err := h.store.Get(network.Public(), tableStatements, s.stands.Statement().Key())
		if err != nil || !bytes.Equal(e.Value, s.stands.Bytes()) {
			t.Errorf("%s: another record is stored (%v)", s.name, err)
		}
	}
}

func TestPublishRefusesWhatNoAdminSigned(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	good := newMember(t, network, 2)
	altered := bytes.Clone(newMember(t, network, 4).record.Bytes())
	altered[len(altered)-1] ^= 1
	for _, raw := range [][]byte{altered, nil, []byte("x")} {
		c := connect(t, h, newMember(t, network, 1))
		c.send(&signaling.Members{Statements: [][]byte{good.record.Bytes(), raw}})
		for {
			m, err := c.read()
			if err != nil {
				t.Fatal(err)
			}
			if _, delta := m.(*signaling.Members); delta { // of the good one
				continue
			}
			if e, ok := m.(*signaling.Error); !ok || e.Code != signaling.CodeUnauthorized {
				t.Fatalf("got %+v, want to be refused", m)
			}
			break
		}
		c.expectEnd()
	}
	if entries, _, _ := h.store.After(network.Public(), tableStatements, 0, 0); len(entries) != 4 {
		t.Errorf("%d statements are stored, want those of the three members and the good one", len(entries))
	}
}

// A member whose stored record has ended may not come with an older one.
func TestExpiredMembership(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	a, b := newMember(t, network, 1), newMember(t, network, 2)
	c := connect(t, h, a)
	ended := b.sign(t, signaling.Record{Sequence: 2, Expires: time.Now().Add(-time.Hour)}, 2)
	c.send(&signaling.Members{Statements: [][]byte{ended.Bytes()}})
	c.settled()
	dial(t, h).hello(b).expectError(signaling.CodeUnauthorized)
}

func TestPresencePaging(t *testing.T) {
	b := newLocalBus()
	network := config.NewNetworkKey().Public()
	for i := range 2*presencePage + 1 {
		b.Attach(Seat{Network: network, Node: config.NodeKey{byte(i), byte(i >> 8), 1}, Member: true, Deliver: func(Event) bool { return true }})
	}
	var sizes []int
	b.Attach(Seat{Network: network, Node: config.NodeKey{9}, Member: true, Deliver: func(e Event) bool {
		sizes = append(sizes, len(e.Message.(*signaling.Presence).Online))
		return true
	}})
	if want := fmt.Sprint([]int{presencePage, presencePage, 1}); fmt.Sprint(sizes) != want {
		t.Errorf("pages of %v, want %v", sizes, want)
	}
	full := &signaling.Presence{}
	for range presencePage {
		full.Online = append(full.Online, signaling.Online{Epoch: 1<<64 - 1, Signature: make([]byte, 64)})
	}
	if _, err := signaling.Encode(full); err != nil {
		t.Errorf("a full page: %v", err)
	}
}
