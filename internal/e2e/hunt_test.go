package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// quarry is something that must not be found, in each form that it may have.
type quarry struct {
	what  string
	forms [][]byte
}

// found says as which of its forms it stands in b, or "".
func (q quarry) found(b []byte) string {
	for _, f := range q.forms {
		if bytes.Contains(b, f) {
			return fmt.Sprintf("%s (as %q)", q.what, f)
		}
	}
	return ""
}

// hunt fails the test for all that is found in the place b. The message tells
// no secret: it is one of a lab that is gone.
func hunt(t *testing.T, all []quarry, where string, b []byte) {
	t.Helper()
	for _, q := range all {
		if found := q.found(b); found != "" {
			t.Errorf("%s: there is %s", where, found)
		}
	}
}

// secretBytes is a secret as it might be printed or sent: whole or the half of
// it, as it is, in hex, or in base64 wherever that begins.
func secretBytes(what string, secret []byte) quarry {
	q := quarry{what: what}
	if len(secret) < 16 {
		panic("too short to hunt for: " + what)
	}
	for _, part := range [][]byte{secret[:len(secret)/2], secret[len(secret)/2:]} {
		q.forms = append(q.forms, part, []byte(hex.EncodeToString(part)), bytes.ToUpper([]byte(hex.EncodeToString(part))))
		q.forms = append(q.forms, base64Forms(part)...)
	}
	return q
}

// base64Forms are what is always the same of b's base64 when other bytes stand
// before and after it.
func base64Forms(b []byte) (forms [][]byte) {
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			text := enc.EncodeToString(append(make([]byte, before), b...))
			first := (before*8 + 5) / 6 // what depends on the bytes before
			last := (before + len(b)) * 8 / 6
			forms = append(forms, []byte(text[first:last]))
		}
	}
	return forms
}

// secretText is a word, also inside base64.
func secretText(what, text string) quarry {
	return quarry{what, append(base64Forms([]byte(text)), []byte(text))}
}

// secretAddr is an address in words, and as bytes if it has a port: without one
// it might stand there by chance.
func secretAddr(what string, a netip.AddrPort) quarry {
	q := secretText(what, a.String())
	raw := append(a.Addr().AsSlice(), byte(a.Port()>>8), byte(a.Port()))
	q.forms = append(q.forms, raw, []byte(hex.EncodeToString(raw)))
	q.forms = append(q.forms, base64Forms(raw)...)
	return q
}

// secretsOf are what the files of a node's state directory hold of secrets.
func secretsOf(t *testing.T, n *Node) (all []quarry) {
	t.Helper()
	var node map[string]any
	readJSON(t, filepath.Join(n.State(), "node.json"), &node)
	for _, key := range []string{"node_key", "wireguard_key", "sealing_key", "discovery_key", "network_key_secret", "hub_access"} {
		if text, ok := node[key].(string); ok {
			all = append(all, secretBytes(n.Name+"'s "+key, decode64(t, text)))
		}
	}
	if len(all) < 4 {
		t.Fatalf("%s has %d secrets", n.Name, len(all))
	}
	var invites []struct{ Secret []byte }
	readJSON(t, filepath.Join(n.State(), "invites.json"), &invites)
	for _, i := range invites {
		all = append(all, secretBytes("an invite's secret", i.Secret))
	}
	var peers []struct{ Keys [][]byte }
	readJSON(t, filepath.Join(n.State(), "keys.json"), &peers)
	for _, p := range peers {
		for _, k := range p.Keys {
			all = append(all, secretBytes("a preshared key", k))
		}
	}
	return all
}

// readJSON leaves v as it is if there is no file.
func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func decode64(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// walk visits every string value in decoded JSON.
func walk(v any, visit func(value string)) {
	switch v := v.(type) {
	case string:
		visit(v)
	case []any:
		for _, e := range v {
			walk(e, visit)
		}
	case map[string]any:
		for _, e := range v {
			walk(e, visit)
		}
	}
}

// unfold is b with all that is encoded in it: the strings of JSON, what is
// base64 in them, and so on.
func unfold(b []byte) []byte {
	all := bytes.Clone(b)
	var v any
	if json.Unmarshal(b, &v) != nil {
		return all
	}
	walk(v, func(value string) {
		all = append(append(all, '\n'), value...)
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			if inner, err := enc.DecodeString(value); err == nil && len(inner) > 0 {
				all = append(append(all, '\n'), unfold(inner)...)
			}
		}
	})
	return all
}

// TestHunt: what is hidden is found.
func TestHunt(t *testing.T) {
	secret := []byte("0123456789abcdefghijklmnopqrstuv")
	q := secretBytes("the secret", secret)
	addr := netip.MustParseAddrPort("198.51.100.7:40123")
	for before := range 4 {
		for after := range 4 {
			b := append(append(make([]byte, before), secret...), make([]byte, after)...)
			a := append(append(make([]byte, before), addr.String()...), make([]byte, after)...)
			raw := append(append(make([]byte, before), 198, 51, 100, 7, 0x9c, 0xbb), make([]byte, after)...)
			for _, encode := range []func([]byte) string{
				func(b []byte) string { return string(b) },
				hex.EncodeToString, base64.StdEncoding.EncodeToString, base64.RawURLEncoding.EncodeToString,
			} {
				for _, text := range []string{encode(b), encode(b[:before+16]), encode(b[before+16:])} {
					if q.found([]byte(text)) == "" {
						t.Errorf("%q is not noticed", text)
					}
				}
				if text := encode(raw); secretAddr("", addr).found([]byte(text)) == "" {
					t.Errorf("%q is not noticed", text)
				}
			}
			if text := base64.StdEncoding.EncodeToString(a); secretAddr("", addr).found([]byte(text)) == "" {
				t.Errorf("%q is not noticed", text)
			}
		}
	}
	inner, _ := json.Marshal(map[string][]byte{"inner": []byte(`{"deep":"word"}`)})
	outer, _ := json.Marshal(map[string]any{"list": []any{1, inner}})
	if !bytes.Contains(unfold(outer), []byte("\nword")) {
		t.Errorf("unfolded to %q", unfold(outer))
	}
	if q.found(bytes.Repeat([]byte("nothing of it "), 100)) != "" {
		t.Error("found where it is not")
	}
}
