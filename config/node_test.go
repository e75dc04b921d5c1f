package config

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// testNodes is a node in each state of its life.
func testNodes(t testing.TB) map[string]*Node {
	invite, creator := testInvite(), NewNetworkKey()
	joining := &Node{
		Key: NewNodeKey(), WireGuard: NewWireGuardKey(), Sealing: NewSealingKey(), Name: "laptop",
		Network: invite.Network, Hub: invite.Hub, Invite: &invite,
	}
	member := *joining
	member.Invite, member.Proof, member.Port = nil, [][]byte{[]byte("signed record")}, 40123
	member.NetworkName, member.Prefix, member.Discovery = "home", netip.MustParsePrefix("10.77.0.0/16"), pattern[[32]byte](9)
	first := member
	first.Network, first.Creator, first.Access = creator.Public(), &creator, make([]byte, AccessSize)
	return map[string]*Node{"joining": joining, "member": &member, "creator": &first}
}

func testInvites() []*KeptInvite {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	return []*KeptInvite{
		{Secret: make([]byte, SecretSize), Created: at, Expires: at.Add(time.Hour), Uses: 3, Tags: []string{"lab"},
			Admitted: []Admission{{Node: pattern[NodeKey](3), Record: []byte("record")}}},
		{Secret: make([]byte, SecretSize), Created: at, Expires: at, Uses: 1, Revoked: true},
	}
}

func saveAll(t *testing.T, d *Dir) {
	t.Helper()
	invite := testInvite()
	var node NodePrivateKey
	setSeed(t, &node)
	err := cmp.Or(
		d.SaveNode(&Node{Key: node, Network: invite.Network, Hub: invite.Hub, Invite: &invite, Name: "laptop"}),
		d.SaveMembers(Members{Statements: [][]byte{[]byte("one"), []byte("two")}, Sequence: 7}),
		d.SaveInvites(testInvites()),
		d.save(keysFile, []peerKeysJSON{}))
	if err != nil {
		t.Fatal(err)
	}
}

func TestNodeRoundTrip(t *testing.T) {
	for name, want := range testNodes(t) {
		d := openTestDir(t)
		if got, err := d.LoadNode(); got != nil || err != nil {
			t.Errorf("%s: an empty directory has node %v, %v", name, got, err)
		}
		if err := d.SaveNode(want); err != nil {
			t.Fatal(err)
		}
		got, err := d.LoadNode()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: another node came back", name)
		}
		if got.Joined() != (name != "joining") {
			t.Errorf("%s: joined %v", name, got.Joined())
		}
	}
}

func TestMembersAndInvitesRoundTrip(t *testing.T) {
	d := openTestDir(t)
	none, err := d.LoadMembers()
	noInvites, err2 := d.LoadInvites()
	if err != nil || err2 != nil || !reflect.DeepEqual(none, Members{}) || noInvites != nil {
		t.Errorf("empty: %v, %v, %v, %v", none, noInvites, err, err2)
	}
	saveAll(t, d)
	members, err := d.LoadMembers()
	if want := (Members{Statements: [][]byte{[]byte("one"), []byte("two")}, Sequence: 7}); err != nil || !reflect.DeepEqual(members, want) {
		t.Errorf("members %v, %v, want %v", members, err, want)
	}
	invites, err := d.LoadInvites()
	if err != nil || !reflect.DeepEqual(invites, testInvites()) {
		t.Errorf("invites %v, %v, want %v", invites, err, testInvites())
	}
}

func TestForget(t *testing.T) {
	d := openTestDir(t)
	for range 2 { // the second time there is nothing to forget
		saveAll(t, d)
		if err := cmp.Or(d.Forget(), d.Forget()); err != nil {
			t.Fatal(err)
		}
		if got := list(t, d.Path()); got != "lock ----------: \n" {
			t.Errorf("left behind: %s", got)
		}
	}
	if _, err := OpenDir(d.Path()); err == nil {
		t.Error("forgetting let go of the directory")
	}
}

// A damaged file is refused with a hint, and stays as it is.
func TestDamagedState(t *testing.T) {
	d := openTestDir(t)
	saveAll(t, d)
	loads := map[string]func() error{
		nodeFile:    func() error { _, err := d.LoadNode(); return err },
		membersFile: func() error { _, err := d.LoadMembers(); return err },
		invitesFile: func() error { _, err := d.LoadInvites(); return err },
	}
	for name, load := range loads {
		path := filepath.Join(d.Path(), name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		end := len(whole) - len("}\n") // what is cut off later is white space
		for _, bad := range []string{"", "\x00\x00\x00", string(whole[:end]), string(whole[:end/2]), string(whole) + "{}", `"text"`, `[1]`} {
			if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			before := list(t, d.Path())
			err := load()
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(HintOf(err), "backup") {
				t.Errorf("%s with %.20q: error %v, hint %q", name, bad, err, HintOf(err))
			}
			if got := list(t, d.Path()); got != before {
				t.Errorf("%s with %.20q: changed to\n%s", name, bad, got)
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil || load() != nil {
			t.Errorf("%s: not whole again", name)
		}
	}
}

// A file may also be whole JSON and lack something.
func TestIncompleteNode(t *testing.T) {
	d := openTestDir(t)
	if err := d.SaveNode(testNodes(t)["creator"]); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Path(), nodeFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key   string
		value any // nil: the key is removed
		want  string
	}{
		{"node_key", nil, "node private key: want 32 bytes, got 0"},
		{"node_key", "AAAA", "node private key: want 32 bytes, got 3"},
		{"node_key", "?", "illegal base64"},
		{"wireguard_key", nil, "wireguard private key: want 32"},
		{"sealing_key", nil, "sealing private key: want 32"},
		{"network", nil, "network's key is missing"},
		{"network", "AAAA", "key: want 32 bytes"},
		{"hub_urls", nil, "the hub is missing"},
		{"hub_urls", []string{"http://h"}, "hub url"},
		{"hub_key", nil, "the hub is missing"},
		{"discovery_key", "AAAA", "discovery key is cut short"},
		{"hub_access", "AAAA", "access key is cut short"},
		{"network_key_secret", "AAAA", "network private key: want 32"},
		{"invite", "p2ptun-invite-A", "the invite is not valid"},
		{"port", 70000, "port"},
		{"prefix", "10.0.0.0/99", "prefix"},
	} {
		var fields map[string]any
		if err := json.Unmarshal(whole, &fields); err != nil {
			t.Fatal(err)
		}
		if fields[c.key] = c.value; c.value == nil {
			delete(fields, c.key)
		}
		b, err := json.Marshal(fields)
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := d.LoadNode()
		if err == nil || n != nil || !strings.Contains(err.Error(), c.want) || HintOf(err) == "" {
			t.Errorf("%s %v: node %v, error %v, want %q", c.key, c.value, n, err, c.want)
		}
	}
	if err := os.WriteFile(filepath.Join(d.Path(), invitesFile), []byte(`[{"uses":1}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.LoadInvites(); err == nil || !strings.Contains(err.Error(), "no secret") {
		t.Errorf("an invite without a secret: %v", err)
	}
}
