package signaling

import (
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, c := range []struct {
		name string
		want string // part of the error, "" for a good name
	}{
		{"a", ""},
		{"7", ""},
		{"laptop-2", ""},
		{"xn--bcher-kva", ""},
		{"localhost2", ""},
		{strings.Repeat("x", 63), ""},
		{"", "1 to 63"},
		{strings.Repeat("x", 64), "1 to 63"},
		{"-a", "begins or ends with -"},
		{"a-", "begins or ends with -"},
		{"-", "begins or ends with -"},
		{"Laptop", "may hold only"},
		{"a.b", "may hold only"},
		{"a_b", "may hold only"},
		{"a b", "may hold only"},
		{"a\x00", "may hold only"},
		{"bücher", "may hold only"},
		{"localhost", "reserved"},
		{"wpad", "reserved"},
		{"isatap", "reserved"},
	} {
		err := CheckName(c.name)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestCleanName(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"laptop", "laptop"},
		{"Peters-MacBook.local", "peters-macbook"},
		{"my_host name", "my-host-name"},
		{"--x--", "x"},
		{"bücher", "b-cher"},
		{"", "node"},
		{"...", "node"},
		{"日本", "node"},
		{"localhost", "node"},
		{"LOCALHOST.localdomain", "node"},
		{strings.Repeat("x", 70), strings.Repeat("x", 63)},
		{strings.Repeat("x", 62) + "-yy", strings.Repeat("x", 62)},
	} {
		got := CleanName(c.text)
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
		if err := CheckName(got); err != nil {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}
