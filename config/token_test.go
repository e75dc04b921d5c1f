package config

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

func pattern[T ~[16]byte | ~[32]byte](first byte) (k T) {
	v := reflect.ValueOf(&k).Elem()
	for i := range v.Len() {
		v.Index(i).SetUint(uint64(first + byte(i)))
	}
	return k
}

func testLink() HubLink {
	return HubLink{
		Hub:    Hub{URLs: []string{"ws://192.0.2.1:443", "ws://[2001:db8::1]:443"}, Key: pattern[HubKey](1)},
		Access: pattern[[AccessSize]byte](0x40),
	}
}

func testInvite() Invite {
	return Invite{
		Hub: testLink().Hub, Network: pattern[NetworkKey](0x50), Secret: pattern[[SecretSize]byte](0x60),
		Keeper: pattern[NodeKey](0x70), KeeperWG: pattern[WireGuardKey](0x80), KeeperSeals: pattern[[32]byte](0x90),
	}
}

// Tokens lie in mails and scripts: what is made today must be read tomorrow.
const (
	goldenLink = "p2ptun-hub-" +
		"AQISd3M6Ly8xOTIuMC4yLjE6NDQzFndzOi8vWzIwMDE6ZGI4OjoxXTo0NDMBAgMEBQYHCAkKCwwNDg8QERITFBUW" +
		"FxgZGhscHR4fIEBBQkNERUZHSElKS0xNTk_1Vhdy"

	goldenInvite = "p2ptun-invite-" +
		"AQISd3M6Ly8xOTIuMC4yLjE6NDQzFndzOi8vWzIwMDE6ZGI4OjoxXTo0NDMBAgMEBQYHCAkKCwwNDg8QERITFBUW" +
		"FxgZGhscHR4fIFBRUlNUVVZXWFlaW1xdXl9gYWJjZGVmZ2hpamtsbW5vYGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3" +
		"eHl6e3x9fn-AgYKDhIWGh4iJiouMjY6PgIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXmJmam5ydnp-QkZKTlJWWl5iZ" +
		"mpucnZ6foKGio6SlpqeoqaqrrK2ur_uZwVk"
)

func TestGoldenTokens(t *testing.T) {
	if got := testLink().Token(); got != goldenLink {
		t.Errorf("hub link\n got %s\nwant %s", got, goldenLink)
	}
	if got := testInvite().Token(); got != goldenInvite {
		t.Errorf("invite\n got %s\nwant %s", got, goldenInvite)
	}
	for _, around := range []string{"%s", " %s", "%s\n", "\t%s\r\n ", "\n\n%s"} {
		if got, err := ParseHubLink(fmt.Sprintf(around, goldenLink)); err != nil || !reflect.DeepEqual(got, testLink()) {
			t.Errorf("hub link in %q: %v, %v", around, got, err)
		}
		if got, err := ParseInvite(fmt.Sprintf(around, goldenInvite)); err != nil || !reflect.DeepEqual(got, testInvite()) {
			t.Errorf("invite in %q: %v, %v", around, got, err)
		}
	}
	if _, err := ParseInvite(goldenInvite[:60] + "\r\n" + goldenInvite[60:]); err != nil {
		t.Errorf("invite with a line break inside: %v", err)
	}
}

// Every cut and every single wrong character is found before anything is
// dialed.
func TestMistypedTokens(t *testing.T) {
	parsers := []struct {
		token, prefix string
		parse         func(string) error
	}{
		{goldenLink, linkPrefix, func(s string) error { _, err := ParseHubLink(s); return err }},
		{goldenInvite, invitePrefix, func(s string) error { _, err := ParseInvite(s); return err }},
	}
	// Of three lengths, two end in a character that has bits to spare.
	for _, url := range []string{"ws://h:1", "ws://h:12", "ws://h:123"} {
		l := testLink()
		l.URLs = []string{url}
		short := parsers[0]
		short.token = l.Token()
		parsers = append(parsers, short)
	}
	for _, p := range parsers {
		for n := range len(p.token) {
			if err := p.parse(p.token[:n]); err == nil {
				t.Errorf("cut to %d characters: taken", n)
			} else if n >= len(p.prefix) && !strings.Contains(err.Error(), "cut off or mistyped") {
				t.Errorf("cut to %d characters: %v", n, err)
			}
		}
		for i := range p.token {
			for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ \x00é" {
				if bad := p.token[:i] + string(c) + p.token[i+1:]; bad != p.token && p.parse(bad) == nil {
					t.Errorf("%q at %d: taken", c, i)
				}
			}
			if i > 0 && p.parse(p.token[:i-1]+p.token[i:]) == nil {
				t.Errorf("without character %d: taken", i-1)
			}
		}
	}
}

func TestTokenRefusals(t *testing.T) {
	body := func(n int) cryptobyte.BuilderContinuation {
		return func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, n)) }
	}
	hubs := func(n int, url string) string {
		return encodeToken(linkPrefix, func(b *cryptobyte.Builder) {
			var h Hub
			for range n {
				h.URLs = append(h.URLs, url)
			}
			AddHub(b, h)
			b.AddBytes(make([]byte, AccessSize))
		})
	}
	trailing := encodeToken(linkPrefix, func(b *cryptobyte.Builder) {
		AddHub(b, testLink().Hub)
		b.AddBytes(make([]byte, AccessSize+1))
	})
	newer := func(token, prefix string) string {
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, prefix))
		if err != nil {
			t.Fatal(err)
		}
		raw[0] = 2
		raw = raw[:len(raw)-checksumSize]
		return prefix + base64.RawURLEncoding.EncodeToString(append(raw, checksum(prefix, raw)...))
	}
	link := func(s string) error { _, err := ParseHubLink(s); return err }
	invite := func(s string) error { _, err := ParseInvite(s); return err }
	for _, c := range []struct {
		name  string
		parse func(string) error
		token string
		want  string
	}{
		{"empty", invite, "", `does not begin with "p2ptun-invite-"`},
		{"another text", link, "https://example.com", `does not begin with "p2ptun-hub-"`},
		{"a link for an invite", invite, goldenLink, "it is a hub link, not an invite"},
		{"an invite for a link", link, goldenInvite, "it is an invite, not a hub link"},
		{"prefixes swapped", invite, invitePrefix + strings.TrimPrefix(goldenLink, linkPrefix), "cut off or mistyped"},
		{"newer link", link, newer(goldenLink, linkPrefix), "version 2, this p2ptun knows version 1"},
		{"newer invite", invite, newer(goldenInvite, invitePrefix), "version 2, this p2ptun knows version 1"},
		{"too long", invite, invitePrefix + strings.Repeat("A", maxTokenChars), "too long"},
		{"twice", invite, goldenInvite + goldenInvite, "cut off or mistyped"},
		{"two in two lines", link, goldenLink + "\n" + goldenLink, "cut off or mistyped"},
		{"empty body", invite, encodeToken(invitePrefix, body(0)), "not understood"},
		{"short body", invite, encodeToken(invitePrefix, body(20)), "not understood"},
		{"trailing byte", link, trailing, "not understood"},
		{"no hub", link, hubs(0, ""), "not understood"},
		{"nine hubs", link, hubs(MaxHubURLs+1, "ws://192.0.2.1:443"), "not understood"},
		{"eight hubs", link, hubs(MaxHubURLs, "ws://192.0.2.1:443"), ""},
		{"no url", link, hubs(1, "http://192.0.2.1:443"), "not understood"},
	} {
		err := c.parse(c.token)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		case c.want != "" && HintOf(err) == "":
			t.Errorf("%s: no hint", c.name)
		}
	}
}

func TestCheckHubURL(t *testing.T) {
	for _, c := range []struct {
		url string
		ok  bool
	}{
		{"ws://192.0.2.1:443", true},
		{"ws://[2001:db8::1]:443", true},
		{"wss://hub.example.com:8443", true},
		{"ws://localhost:1", true},
		{"", false},
		{"ws://", false},
		{"ws://192.0.2.1", false},
		{"ws://192.0.2.1:", false},
		{"ws://:443", false},
		{"ws://h:0", false},
		{"ws://h:65536", false},
		{"ws://h:http", false},
		{"WS://h:443", false},
		{"http://h:443", false},
		{"h:443", false},
		{"ws://h:443/", false},
		{"ws://h:443/v1/signal", false},
		{"ws://h:443?a", false},
		{"ws://h:443#a", false},
		{"ws://user:pw@h:443", false},
		{"ws://h h:443", false},
		{"ws://h\n:443", false},
		{"ws://%41:443", false},
		{"ws://[fe80::1%25eth0]:443", false},
		{"ws://" + strings.Repeat("h", 300) + ":443", false},
	} {
		if err := CheckHubURL(c.url); (err == nil) != c.ok {
			t.Errorf("%q: %v, want ok %v", c.url, err, c.ok)
		}
	}
}

func FuzzParseInvite(f *testing.F) {
	f.Add(goldenInvite)
	f.Add(goldenLink)
	f.Add(encodeToken(invitePrefix, func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, 300)) }))
	f.Fuzz(func(t *testing.T, token string) {
		checkTokenFuzz(t, invitePrefix, token, ParseInvite, Invite.Token)
	})
}

func FuzzParseHubLink(f *testing.F) {
	f.Add(goldenLink)
	f.Add(goldenInvite)
	f.Fuzz(func(t *testing.T, token string) {
		checkTokenFuzz(t, linkPrefix, token, ParseHubLink, HubLink.Token)
	})
}

// checkTokenFuzz tries the text as a token, and again as the content of a
// token, which the checksum would keep the fuzzer from. What is taken comes
// back from its own token.
func checkTokenFuzz[T any](t *testing.T, prefix, text string, parse func(string) (T, error), token func(T) string) {
	wrapped := encodeToken(prefix, func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
	for _, s := range []string{text, wrapped} {
		v, err := parse(s)
		if err != nil {
			if HintOf(err) == "" {
				t.Errorf("no hint with %v", err)
			}
			continue
		}
		if again, err := parse(token(v)); err != nil || !reflect.DeepEqual(again, v) {
			t.Errorf("%q: came back as %v, %v", s, again, err)
		}
	}
}
