package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func testBackup(t *testing.T) *Backup {
	t.Helper()
	return &Backup{
		Key: NewNetworkKey(), NetworkName: "home", Prefix: netip.MustParsePrefix("10.77.0.0/16"), Discovery: [32]byte{1, 2},
		Hub:    Hub{URLs: []string{"wss://192.0.2.1:443"}, Key: NewHubKey().Public()},
		Access: bytes.Repeat([]byte{7}, AccessSize), Statements: [][]byte{[]byte("one"), []byte("two")},
	}
}

// quickWork keeps the tests from taking a second for each passphrase.
const quickWork = 10

func TestBackup(t *testing.T) {
	b := testBackup(t)
	file, err := b.encrypt("secret", quickWork)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(file, []byte("home")) || !bytes.HasPrefix(file, []byte("-----BEGIN AGE ENCRYPTED FILE-----\n")) {
		t.Errorf("it is not encrypted, or not age's:\n%s", file)
	}
	got, err := OpenBackup(file, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Key.Seed(), b.Key.Seed()) {
		t.Error("another key came back")
	}
	got.Key = b.Key
	if !reflect.DeepEqual(got, b) {
		t.Errorf("got %+v, want %+v", got, b)
	}
	if _, err := OpenBackup(file, "Secret"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("another passphrase: %v", err)
	}
	if _, err := b.Encrypt(""); err == nil {
		t.Error("encrypted without a passphrase")
	}
}

// TestDamagedBackup: no change of any byte, nor a missing end, goes unseen.
func TestDamagedBackup(t *testing.T) {
	file, err := testBackup(t).encrypt("secret", quickWork)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(file); i += 7 {
		bent := bytes.Clone(file)
		bent[i] ^= 1
		for name, f := range map[string][]byte{"bent": bent, "cut": file[:i]} {
			if _, err := OpenBackup(f, "secret"); err == nil {
				t.Fatalf("%s at %d of %d: taken", name, i, len(file))
			}
		}
	}
}

func TestParseBackup(t *testing.T) {
	good, err := testBackup(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for field, value := range map[string]any{
		"network_key_secret": "AAAA", "network_name": "", "prefix": "fd00::/64", "discovery_key": "AAAA",
		"hub_urls": []string{"http://x"}, "hub_access": "AAAA", "statements": []string{},
	} {
		var f map[string]any
		if err := json.Unmarshal(good, &f); err != nil {
			t.Fatal(err)
		}
		f[field] = value
		bad, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseBackup(bad); err == nil || !strings.HasPrefix(err.Error(), "the backup is damaged: ") || HintOf(err) == "" {
			t.Errorf("%s = %v: %v", field, value, err)
		}
	}
	if _, err := ParseBackup(good); err != nil {
		t.Error(err)
	}
}

func TestBackupIsNotPrinted(t *testing.T) {
	b := testBackup(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, v := range []any{b, *b} {
			if s := fmt.Sprintf(verb, v); s != "backup of network "+b.Key.Public().ID().String() {
				t.Errorf("%s: %s", verb, s)
			}
		}
	}
	if s, err := json.Marshal(b); err == nil {
		t.Errorf("as JSON: %s", s)
	}
}

// TestSetAside: what was set aside comes back alone; what proved good makes it
// go.
func TestSetAside(t *testing.T) {
	d := openTestDir(t)
	nodes := testNodes(t)
	if n, err := d.TakeBack(); n != nil || err != nil {
		t.Fatalf("nothing was set aside: %v, %v", n, err)
	}
	try := func() {
		t.Helper()
		err := errors.Join(d.SetAside(nodes["joining"]), d.SaveNode(nodes["creator"]), d.SaveMembers(Members{Sequence: 1}), d.SaveInvites(testInvites()))
		if err != nil {
			t.Fatal(err)
		}
	}
	try()
	n, err := d.TakeBack()
	if err != nil || !reflect.DeepEqual(n, nodes["joining"]) {
		t.Errorf("got %v, %v", n, err)
	}
	s, err := readState(d)
	if err != nil || !reflect.DeepEqual(s, state{Node: nodes["joining"]}) {
		t.Errorf("stored %+v, %v", s, err)
	}
	if n, err := d.TakeBack(); n != nil || err != nil {
		t.Errorf("taken back twice: %v, %v", n, err)
	}
	try()
	if err := d.DropEarlier(); err != nil {
		t.Fatal(err)
	}
	if n, err := d.TakeBack(); n != nil || err != nil {
		t.Errorf("it proved good: %v, %v", n, err)
	}
	try()
	if err := d.Forget(); err != nil {
		t.Fatal(err)
	}
	if n, err := d.TakeBack(); n != nil || err != nil {
		t.Errorf("forgotten: %v, %v", n, err)
	}
}
