package config

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseRelay(t *testing.T) {
	for _, tt := range []struct {
		uri  string
		want Relay
	}{
		{"turn:relay.example.org", Relay{"relay.example.org", 3478, RelayUDP, "", "", ""}},
		{"TURN:192.0.2.1:443?transport=UDP", Relay{"192.0.2.1", 443, RelayUDP, "", "", ""}},
		{"turn:[2001:db8::1]", Relay{"2001:db8::1", 3478, RelayUDP, "", "", ""}},
		{"turn:u:p@[2001:db8::1]:99", Relay{"2001:db8::1", 99, RelayUDP, "u", "p", ""}},
		{"turn:1700000000:u%40x:p%3A%40%25@h:1", Relay{"h", 1, RelayUDP, "1700000000", "u@x:p:@%", ""}},
		{"turn:a:b@c@h", Relay{"h", 3478, RelayUDP, "a", "b@c", ""}},
		{"turn:a:p+w/=@h", Relay{"h", 3478, RelayUDP, "a", "p+w/=", ""}},
		{"turn:u:p@h?transport=tcp", Relay{"h", 3478, RelayTCP, "u", "p", ""}},
		{"turns:u:p@h", Relay{"h", 5349, RelayTLS, "u", "p", ""}},
		{"TURNS:192.0.2.1:443?Transport=TCP", Relay{"192.0.2.1", 443, RelayTLS, "", "", ""}},
		{"turn:h?secret=a%26b+c", Relay{"h", 3478, RelayUDP, "", "", "a&b+c"}},
		{"turn:h:9?transport=tcp&secret=s", Relay{"h", 9, RelayTCP, "", "", "s"}},
		{"turns:h?secret=s", Relay{"h", 5349, RelayTLS, "", "", "s"}},
	} {
		got, err := ParseRelay(tt.uri)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", tt.uri, got, err, tt.want)
		}
		if again, err := ParseRelay(got.URI()); again != got || err != nil {
			t.Errorf("%s: as %s it is %+v, %v", tt.uri, got.URI(), again, err)
		}
	}
}

func TestParseRelayRefuses(t *testing.T) {
	for uri, want := range map[string]string{
		"":                                      "no turn URI",
		"relay.example.org":                     "no turn URI",
		"http://relay.example.org":              "no turn URI",
		"stun:relay.example.org":                "STUN",
		"stuns:relay.example.org":               "STUN",
		"turns:u:p@h?transport=udp":             "DTLS",
		"turn:u:p@h?transport=sctp":             "sctp",
		"turn:u:p@h?x=y":                        "x",
		"turn:h?secret=":                        "empty",
		"turn:h?secret=hunter2%zz":              "hexadecimal",
		"turn:u:p@h?secret=hunter2":             "one of them",
		"turn://u:p@h":                          "slashes",
		"turn:":                                 "host",
		"turn:u:p@":                             "host",
		"turn:hunter2@h":                        "missing",
		"turn::hunter2@h":                       "missing",
		"turn:u:hunter2%zz@h":                   "hexadecimal",
		"turn:u:p@h:0":                          "port",
		"turn:u:p@h:70000":                      "port",
		"turn:u:p@2001:db8::1":                  "brackets",
		"turn:u:p@[192.0.2.1]":                  "host",
		"turn:u:p@[fe80::1%eth0]":               "host",
		"turn:u:p@a host":                       "host",
		"turn:u:p@" + strings.Repeat("h", 2000): "longer",
	} {
		_, err := ParseRelay(uri)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want an error with %q and no password", uri, err, want)
		}
	}
}

// As OpenSSL has it:
//
//	printf %s 5184000:p2ptun | openssl dgst -sha1 -hmac north -binary | base64
func TestRelayCredentials(t *testing.T) {
	r := Relay{Secret: "north"}
	user, password := r.Credentials(time.Unix(0, 0))
	if user != "5184000:p2ptun" || password != "5DbzGtVM49+QOE4EvS2WbrMi+74=" {
		t.Errorf("%s, %s", user, password)
	}
	for _, at := range []time.Duration{0, relaySecretLife - 1, relaySecretLife, 5 * relaySecretLife / 2} {
		now := time.Unix(1800000000, 0).Add(at)
		user, _ := r.Credentials(now)
		seconds, _, _ := strings.Cut(user, ":")
		ends, err := strconv.ParseInt(seconds, 10, 64)
		if left := time.Unix(ends, 0).Sub(now); err != nil || left < relaySecretLife || left > 2*relaySecretLife {
			t.Errorf("%s is good for %v", user, left)
		}
	}
	if user, password := (Relay{Username: "u", Password: "p"}).Credentials(time.Now()); user != "u" || password != "p" {
		t.Errorf("%s, %s", user, password)
	}
}

func FuzzParseRelay(f *testing.F) {
	f.Add("turn:u:p@[2001:db8::1]:99?transport=udp")
	f.Fuzz(func(t *testing.T, uri string) {
		r, err := ParseRelay(uri)
		if err != nil {
			return
		}
		if again, err := ParseRelay(r.URI()); err == nil && again != r {
			t.Errorf("%q is %+v, as %q %+v", uri, r, r.URI(), again)
		}
	})
}
