package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Relay names a TURN server that is not the hub's: a turn URI (RFC 7065 section
// 3.1) over UDP, with the credentials in front of the host as in other URIs:
//
//	turn:[USER:PASSWORD@]HOST[:PORT][?transport=udp]
type Relay struct {
	Host               string // a name, or an address without brackets
	Port               uint16
	Username, Password string // empty: the server asks for none
}

// MaxRelays is how many relays a machine may be told to use beside the hub's.
const MaxRelays = 4

const (
	defaultRelayPort = 3478 // RFC 7065 section 3.2, for UDP

	maxRelayURI  = 1024 // bytes
	maxRelayUser = 508  // RFC 8489 section 14.3
)

var errRelay = errors.New("want turn:USER:PASSWORD@HOST:PORT, over UDP")

// ParseRelay reads a turn URI. Its errors do not repeat the password.
func ParseRelay(s string) (Relay, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	switch {
	case len(s) > maxRelayURI:
		return Relay{}, fmt.Errorf("longer than %d bytes: %w", maxRelayURI, errRelay)
	case !ok:
		return Relay{}, fmt.Errorf("no turn URI: %w", errRelay)
	case strings.EqualFold(scheme, "turns"):
		return Relay{}, fmt.Errorf("relays over TLS are not possible yet: %w", errRelay)
	case strings.EqualFold(scheme, "stun"):
		return Relay{}, fmt.Errorf("a STUN server does not relay: %w", errRelay)
	case !strings.EqualFold(scheme, "turn"):
		return Relay{}, fmt.Errorf("no turn URI: %w", errRelay)
	case strings.HasPrefix(rest, "//"):
		return Relay{}, fmt.Errorf("no slashes follow turn: %w", errRelay)
	}
	rest, query, _ := strings.Cut(rest, "?")
	if query != "" && !strings.EqualFold(query, "transport=udp") {
		return Relay{}, fmt.Errorf("relays over anything but UDP are not possible yet: %w", errRelay)
	}
	var r Relay
	host := rest
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		host = rest[i+1:]
		if err := r.setCredentials(rest[:i]); err != nil {
			return Relay{}, err
		}
	}
	if err := r.setHost(host); err != nil {
		return Relay{}, err
	}
	return r, nil
}

func (r *Relay) setCredentials(s string) (err error) {
	user, password, _ := strings.Cut(s, ":")
	if r.Username, err = url.PathUnescape(user); err == nil {
		r.Password, err = url.PathUnescape(password)
	}
	switch {
	case err != nil: // says what it could not decode
		return fmt.Errorf("user or password: %% is not followed by two hexadecimal digits: %w", errRelay)
	case r.Username == "" || r.Password == "":
		return fmt.Errorf("user or password is missing before the @: %w", errRelay)
	case len(r.Username) > maxRelayUser:
		return fmt.Errorf("user is longer than %d bytes", maxRelayUser)
	}
	return nil
}

func (r *Relay) setHost(s string) error {
	host, port := s, strconv.Itoa(defaultRelayPort)
	switch bracketed := strings.HasPrefix(s, "["); {
	case bracketed && strings.HasSuffix(s, "]"):
		host = s[1 : len(s)-1]
	case strings.Contains(s, ":"):
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return fmt.Errorf("host %q, where an IPv6 address stands in brackets: %w", s, errRelay)
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("port %q: want 1 to 65535", port)
	}
	bracketed := strings.HasPrefix(s, "[")
	a, err := netip.ParseAddr(host)
	if isIP := err == nil; bracketed != (isIP && a.Is6()) || isIP && a.Zone() != "" || !isIP && !isHostName(host) {
		return fmt.Errorf("host %q: %w", host, errRelay)
	}
	r.Host, r.Port = host, uint16(n)
	return nil
}

// isHostName says whether s may be a name in the DNS.
func isHostName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	return s != "" && len(s) <= 253 && strings.Trim(s, letters) == "" && !strings.HasPrefix(s, ".") && !strings.HasPrefix(s, "-")
}

// URI is what ParseRelay takes, password included.
func (r Relay) URI() string {
	credentials := ""
	if r.Username != "" {
		credentials = escapeRelay(r.Username) + ":" + escapeRelay(r.Password) + "@"
	}
	return "turn:" + credentials + net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port)))
}

// escapeRelay leaves nothing unescaped that means something in a turn URI.
func escapeRelay(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
