package peer

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestDescription(t *testing.T) {
	good := description{Ufrag: "abcd", Pwd: strings.Repeat("p", 22), Candidates: []string{"1 1 udp 1 192.0.2.1 5 typ host"}, End: true}
	got, err := decodeDescription(encode(good))
	if err != nil || !reflect.DeepEqual(got, good) {
		t.Errorf("got %+v, %v, want %+v", got, err, good)
	}
	if got, err := decodeDescription([]byte(`{"ufrag":"abcd","pwd":"0123456789012345678901","new":{"x":1}}`)); err != nil || len(got.Candidates) != 0 {
		t.Errorf("a field of a later version: %+v, %v, want it ignored", got, err)
	}
	bad := map[string]func(*description){
		"short ufrag":         func(d *description) { d.Ufrag = "abc" },
		"long ufrag":          func(d *description) { d.Ufrag = strings.Repeat("u", 65) },
		"colon in ufrag":      func(d *description) { d.Ufrag = "ab:cd" },
		"short pwd":           func(d *description) { d.Pwd = d.Pwd[1:] },
		"line break in pwd":   func(d *description) { d.Pwd = d.Pwd + "\n" + d.Pwd },
		"too many candidates": func(d *description) { d.Candidates = make([]string, maxCandidates+1) },
		"long candidate":      func(d *description) { d.Candidates = []string{strings.Repeat("x", maxCandidateLine+1)} },
	}
	for name, change := range bad {
		d := good
		change(&d)
		if _, err := decodeDescription(encode(d)); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
	for _, s := range []string{"", "null", "[]", "{", `{"ufrag":1}`, strings.Repeat(" ", maxContent+1)} {
		if _, err := decodeDescription([]byte(s)); err == nil {
			t.Errorf("%.20q: decoded", s)
		}
	}
}

func TestMessage(t *testing.T) {
	good := message{Type: typeCandidates, Ufrag: "abcd", Candidates: []string{"x"}, Ack: 3, Want: true}
	got, err := decodeMessage(encode(good))
	if err != nil || !reflect.DeepEqual(got, good) {
		t.Errorf("got %+v, %v, want %+v", got, err, good)
	}
	for _, s := range []string{`{"ack":-1}`, `{"ack":1000}`, `{"ufrag":"a b"}`, `{"candidates":{}}`} {
		if _, err := decodeMessage([]byte(s)); err == nil {
			t.Errorf("%s: decoded", s)
		}
	}
}

func FuzzContent(f *testing.F) {
	f.Add(encode(description{Ufrag: "abcd", Pwd: strings.Repeat("p", 22), Candidates: []string{"1 1 udp 1 192.0.2.1 5 typ host", "1 1 udp 1 2001:db8::1 5 typ relay raddr :: rport 9"}}))
	f.Add(encode(message{Type: typeCandidates, Ufrag: "abcd", Candidates: []string{"1 1 tcp 1 h.local 0 typ srflx raddr 0 rport 0 x y"}, Ack: 1}))
	f.Add([]byte(`{"ufrag":"abcd","pwd":"0123456789012345678901","candidates":["candidate:"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := decodeDescription(b); err == nil {
			if len(d.Candidates) > maxCandidates || len(d.Ufrag) > maxCredential || len(d.Pwd) > maxCredential {
				t.Errorf("beyond limits: %+v", d)
			}
			again, err := decodeDescription(encode(d))
			if err != nil || len(again.Candidates) != len(d.Candidates) {
				t.Errorf("%+v is not read back: %v", d, err)
			}
			for _, line := range d.Candidates {
				checkParsed(t, line)
			}
		}
		if m, err := decodeMessage(b); err == nil {
			for _, line := range m.Candidates {
				checkParsed(t, line)
			}
			var tr trickle
			tr.receive(m)
		}
	})
}

func checkParsed(t *testing.T, line string) {
	if c, addr, err := parseCandidate(line, nil); err == nil {
		if !usable(addr) || candidateAddr(c) != addr {
			t.Errorf("%q gives %s, candidate %s", line, addr, c)
		}
		if _, err := json.Marshal(c.Marshal()); err != nil {
			t.Error(err)
		}
	}
}

// TestUnknownMapping: what a later version may call a mapping is none that is known.
func TestUnknownMapping(t *testing.T) {
	for said, want := range map[Mapping]Mapping{
		MappingAddressDependent: MappingAddressDependent, MappingNone: MappingNone, "": "", "<b>what?</b>": "",
	} {
		d, err := decodeDescription(encode(description{Ufrag: "abcd", Pwd: "0123456789012345678901", Mapping: said}))
		if err != nil || d.Mapping != want {
			t.Errorf("description with %q: %q, %v", said, d.Mapping, err)
		}
		m, err := decodeMessage(encode(message{Type: typeCandidates, Ufrag: "abcd", Mapping: said}))
		if err != nil || m.Mapping != want {
			t.Errorf("message with %q: %q, %v", said, m.Mapping, err)
		}
	}
}
