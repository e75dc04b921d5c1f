package config

import (
	"strings"
	"testing"
)

func TestParseRelay(t *testing.T) {
	for _, tt := range []struct {
		uri  string
		want Relay
	}{
		{"turn:relay.example.org", Relay{"relay.example.org", 3478, "", ""}},
		{"TURN:192.0.2.1:443?transport=UDP", Relay{"192.0.2.1", 443, "", ""}},
		{"turn:[2001:db8::1]", Relay{"2001:db8::1", 3478, "", ""}},
		{"turn:u:p@[2001:db8::1]:99", Relay{"2001:db8::1", 99, "u", "p"}},
		{"turn:1700000000:u%40x:p%3A%40%25@h:1", Relay{"h", 1, "1700000000", "u@x:p:@%"}},
		{"turn:a:b@c@h", Relay{"h", 3478, "a", "b@c"}},
		{"turn:a:p+w/=@h", Relay{"h", 3478, "a", "p+w/="}},
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
		"turns:u:p@h":                           "TLS",
		"turn:u:p@h?transport=tcp":              "UDP",
		"turn:u:p@h?x=y":                        "UDP",
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
