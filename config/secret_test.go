package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// secretByte fills every secret of these tests, traces is how three of it look
// in print: fewer might stand in an address or a time by chance.
const secretByte = 0xA7

var traces = []string{
	"\xa7\xa7\xa7", `\xa7\xa7\xa7`, "a7a7a7", "A7A7A7", "a7 a7 a7", "A7 A7 A7", "0xa7, 0xa7", "0xa7 0xa7", "0XA7 0XA7", // bytes and hex
	"167 167 167", "167, 167, 167", "167,167,167", "10100111 10100111", "247 247 247", "0247 0247", // numbers
	"p6enp6", "enp6en", "6enp6e", "np6enp", "u6t2pj5h", // base64 and base32, wherever it begins
	"§ §", "§§", "'§'", `\u00a7`, "U+00A7", "\ufffd\ufffd\ufffd", // runes
}

func secretBytes(n int) []byte { return bytes.Repeat([]byte{secretByte}, n) }

func setSeed(t testing.TB, k interface{ SetSeed([]byte) error }) {
	t.Helper()
	if err := k.SetSeed(secretBytes(32)); err != nil {
		t.Fatal(err)
	}
}

// secrets is one value of each type that holds a secret.
func secrets(t testing.TB) map[string]any {
	var network NetworkPrivateKey
	var node NodePrivateKey
	var hub HubPrivateKey
	var wg WireGuardPrivateKey
	var seal SealingPrivateKey
	var psk PresharedKey
	for _, k := range []interface{ SetSeed([]byte) error }{&network, &node, &hub, &wg, &seal, &psk} {
		setSeed(t, k)
	}
	at := Hub{URLs: []string{"ws://192.0.2.1:443"}, Key: hub.Public()}
	link := HubLink{Hub: at, Access: [AccessSize]byte(secretBytes(AccessSize))}
	invite := Invite{Hub: at, Network: network.Public(), Secret: [SecretSize]byte(secretBytes(SecretSize)), Keeper: node.Public()}
	self := Node{
		Key: node, WireGuard: wg, Sealing: seal, Name: "laptop", Network: network.Public(), Hub: at,
		Discovery: [32]byte(secretBytes(32)), Invite: &invite, Creator: &network, Access: secretBytes(AccessSize),
	}
	kept := KeptInvite{Secret: secretBytes(SecretSize), Expires: time.Unix(1e9, 0)}
	return map[string]any{
		"network": network, "node": node, "hub": hub, "wireguard": wg, "sealing": seal,
		"link": link, "invite": invite, "self": self, "kept": kept,
		"*network": &network, "*node": &node, "*hub": &hub, "*wireguard": &wg, "*sealing": &seal,
		"preshared": psk, "*preshared": &psk, "peer keys": PeerKeys{Keys: []PresharedKey{psk}},
		"*link": &link, "*invite": &invite, "*self": &self, "*kept": &kept,
	}
}

func isKey(v any) bool {
	_, ok := v.(interface{ Seed() []byte })
	return ok
}

func noTrace(t *testing.T, how, printed string) {
	t.Helper()
	for _, s := range traces {
		if strings.Contains(printed, s) {
			t.Errorf("%s prints the secret (as %q): %.200q", how, s, printed)
			return
		}
	}
}

func TestSecretsAreNotFormatted(t *testing.T) {
	verbs := []string{"%v", "%+v", "%#v", "% x", "%#x", "% X", "%#q", "%+q", "%08b", "%!"}
	for c := 'A'; c <= 'z'; c++ {
		verbs = append(verbs, "%"+string(c))
	}
	for name, v := range secrets(t) {
		t.Run(name, func(t *testing.T) {
			for _, verb := range verbs {
				if (verb == "%p" || verb == "%w") && !isKey(v) {
					continue // `go vet` refuses these; package fmt calls no method for them
				}
				noTrace(t, verb, fmt.Sprintf(verb, v))
				noTrace(t, verb+" of a struct", fmt.Sprintf(verb, struct{ Inner any }{v}))
				noTrace(t, verb+" of a slice", fmt.Sprintf(verb, []any{v}))
				noTrace(t, verb+" of a map", fmt.Sprintf(verb, map[string]any{"k": v}))
			}
			if isKey(v) {
				noTrace(t, "an unexported field", fmt.Sprintf("%+v", struct{ inner any }{v}))
			}
			noTrace(t, "Sprint", fmt.Sprint(v))
			noTrace(t, "an error", fmt.Errorf("%w: %v", ErrInUse, v).Error())
		})
	}
}

func TestSecretsAreNotLogged(t *testing.T) {
	for name, v := range secrets(t) {
		t.Run(name, func(t *testing.T) {
			var text, js bytes.Buffer
			slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v, slog.Group("g", "v", v))
			slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "v", v, slog.Group("g", "v", v))
			noTrace(t, "slog text", text.String())
			noTrace(t, "slog JSON", js.String())
		})
	}
}

// A KeptInvite is not among them: JSON is how it is stored.
func TestSecretsAreNotMarshaled(t *testing.T) {
	for name, v := range secrets(t) {
		if strings.HasSuffix(name, "kept") {
			continue
		}
		b, err := json.Marshal(map[string]any{"v": v})
		if err == nil {
			t.Errorf("%s: marshaled as %.200s", name, b)
		}
		noTrace(t, "the error of "+name, fmt.Sprint(err))
	}
}

// TestTraces shows that the traces would be noticed.
func TestTraces(t *testing.T) {
	raw := secretBytes(32)
	for _, verb := range []string{"%v", "%d", "%x", "%X", "% x", "%#x", "%s", "%q", "%#v", "%o", "%#o", "%b", "%c", "%U", "%+q", "%#x", "%# x", "%#X"} {
		printed := fmt.Sprintf(verb, raw)
		if !slices.ContainsFunc(traces, func(s string) bool { return strings.Contains(printed, s) }) {
			t.Errorf("%s would not be noticed: %.60q", verb, printed)
		}
	}
	for _, enc := range []string{Invite{Secret: [SecretSize]byte(raw[:SecretSize])}.Token(), HubLink{Access: [AccessSize]byte(raw[:AccessSize])}.Token()} {
		if !slices.ContainsFunc(traces, func(s string) bool { return strings.Contains(enc, s) }) {
			t.Errorf("base64 would not be noticed: %s", enc)
		}
	}
}
