package signaling

import (
	"fmt"
	"slices"
	"strings"
)

// reservedNames mean something else to resolvers and browsers; a member that
// took one could draw traffic that was never meant for it.
var reservedNames = []string{"localhost", "wpad", "isatap", "localdomain", "broadcasthost", "internal", "local", "any", "all", "self", "hub"}

// CheckName says what is wrong with a node's or network's name: it must be a
// lower-case LDH label (RFC 5890) of at most 63 characters, and not reserved.
func CheckName(name string) error {
	if err := checkLabel(name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if slices.Contains(reservedNames, name) {
		return fmt.Errorf("name %q is reserved", name)
	}
	return nil
}

func checkLabel(s string) error {
	if s == "" || len(s) > 63 {
		return fmt.Errorf("%q has %d characters, want 1 to 63", s, len(s))
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return fmt.Errorf("%q may hold only a-z, 0-9 and -", s)
		}
	}
	if s[0] == '-' || s[len(s)-1] == '-' {
		return fmt.Errorf("%q begins or ends with -", s)
	}
	return nil
}

// CleanName makes a valid name of any text, such as a host name; what has no
// usable character becomes "node".
func CleanName(s string) string {
	s, _, _ = strings.Cut(strings.ToLower(s), ".")
	s = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, s)
	s = strings.Trim(s[:min(len(s), 63)], "-")
	if CheckName(s) != nil {
		return "node"
	}
	return s
}
