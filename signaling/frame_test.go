package signaling

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

func testMessages() []Message {
	key, since := config.NodeKey(count(1, 32)), uint64(1<<63+1)
	return []Message{
		&Challenge{Nonce: count(1, NonceSize), Hub: config.HubKey{1}},
		&Hello{Network: config.NetworkKey{1}, Node: key, Nonce: []byte{1}, Signature: []byte{2}, Epoch: 1<<64 - 1, Presence: []byte{3},
			Proof: [][]byte{{4}, {7}}, Access: []byte{5}, Ticket: []byte{6}, Since: since},
		&Welcome{Signature: []byte{1}, Member: true, Observed: "192.0.2.1:1"},
		&Members{Statements: [][]byte{{1}, {2, 3}}, Sequence: since, More: true, Digest: []byte{4}, Since: &since},
		&Presence{Online: []Online{{Node: key, Epoch: 7, Signature: []byte{1}}}, Offline: []config.NodeKey{key}},
		&Signal{From: key, To: config.NodeKey{2}, Sealed: []byte("<&>\"")},
		&Join{From: key, To: config.NodeKey{2}, Sealed: []byte{1}},
		&Tickets{Tickets: []Ticket{{Hash: []byte{1}, State: TicketUsed}}},
		&Credentials{Servers: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:3478")}, STUN: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:3479")}, Username: "u", Password: "p", Expires: 1},
		&Error{Code: CodeOffline, Message: "not here", To: &key, Proof: []byte{1}},
	}
}

func TestFrames(t *testing.T) {
	for _, m := range testMessages() {
		empty := reflect.New(reflect.TypeOf(m).Elem()).Interface().(Message)
		for _, want := range []Message{m, empty} {
			frame, err := Encode(want)
			if err != nil {
				t.Fatal(err)
			}
			var head map[string]any
			if err := json.Unmarshal(frame, &head); err != nil || head["type"] != want.frameType() {
				t.Errorf("%T is %s, %v", want, frame, err)
			}
			if got, err := Decode(frame); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%T came back as %+v, %v", want, got, err)
			}
		}
	}
}

// A newer side may send more: what is unknown is ignored.
func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name, frame string
		want        Message
		err         bool
	}{
		{"unknown type", `{"type":"weather","celsius":30}`, nil, false},
		{"no type", `{"code":"used"}`, nil, false},
		{"the type of no frame", `{"type":""}`, nil, false},
		{"unknown field", `{"type":"error","code":"used","weather":{"celsius":[30]}}`, &Error{Code: CodeUsed}, false},
		{"unknown code", `{"type":"error","code":"rain"}`, &Error{Code: "rain"}, false},
		{"type last", ` {"code":"used","type":"error"} `, &Error{Code: CodeUsed}, false},
		{"null", `null`, nil, false},
		{"empty", ``, nil, true},
		{"not JSON", `hello`, nil, true},
		{"a list", `[{"type":"error"}]`, nil, true},
		{"two", `{"type":"error"}{"type":"error"}`, nil, true},
		{"type is a number", `{"type":1}`, nil, true},
		{"cut", `{"type":"error","code":"us`, nil, true},
		{"wrong field type", `{"type":"error","code":1}`, nil, true},
		{"bad base64", `{"type":"signal","sealed":"?"}`, nil, true},
		{"short key", `{"type":"signal","from":"AAAA"}`, nil, true},
		{"epoch too large", `{"type":"hello","epoch":18446744073709551616}`, nil, true},
		{"negative", `{"type":"members","sequence":-1}`, nil, true},
	} {
		got, err := Decode([]byte(c.frame))
		if (err != nil) != c.err || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v, an error %v", c.name, got, err, c.want, c.err)
		}
	}
}

func TestFrameSize(t *testing.T) {
	m := &Credentials{Username: "x"}
	frame, _ := Encode(m)
	m.Username = strings.Repeat("x", 1+MaxFrame-len(frame))
	frame, err := Encode(m)
	if err != nil || len(frame) != MaxFrame {
		t.Fatalf("%d bytes, %v: the test is wrong", len(frame), err)
	}
	if got, err := Decode(frame); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("the longest: %v", err)
	}
	if _, err := Decode(append(frame, ' ')); err == nil {
		t.Error("decoded a byte more")
	}
	m.Username += "x"
	if _, err := Encode(m); err == nil {
		t.Error("encoded a byte more")
	}
	for _, m := range []Message{&Signal{Sealed: make([]byte, MaxSealed)}, &Join{Sealed: make([]byte, MaxSealed)}} {
		if _, err := Encode(m); err != nil {
			t.Errorf("%T with the longest sealed message: %v", m, err)
		}
	}
}

// What others say is shown in one line, and commands no terminal.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"the hub is full":          "the hub is full",
		"a\nhint: run \x1b[2Jthis": "a?hint: run ?[2Jthis",
		"größer \u202e":            "größer ?",
		strings.Repeat("x", 300):   strings.Repeat("x", 200) + "…",
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	m, err := Decode([]byte(`{"type":"error","code":"limit","message":"a\u001b[2J"}`))
	if e, ok := m.(*Error); err != nil || !ok || e.Message != "a?[2J" {
		t.Errorf("got %+v, %v", m, err)
	}
}
