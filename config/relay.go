package config

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Relay names a TURN server that is not the hub's: a turn or turns URI (RFC 7065
// section 3.1), with the credentials in front of the host as in other URIs, or with
// the secret that the server shares with whom it trusts to make credentials:
//
//	turn:[USER:PASSWORD@]HOST[:PORT][?transport=udp|tcp][&secret=SECRET]
//	turns:[USER:PASSWORD@]HOST[:PORT][?secret=SECRET]
type Relay struct {
	Host               string // a name, or an address without brackets
	Port               uint16
	Transport          RelayTransport
	Username, Password string // empty: the server asks for none, or there is a Secret
	Secret             string // coturn's static-auth-secret; empty: none
}

// RelayTransport is how a TURN server is reached.
type RelayTransport string

// The transports of RFC 7065 but DTLS.
const (
	RelayUDP RelayTransport = "udp"
	RelayTCP RelayTransport = "tcp"
	RelayTLS RelayTransport = "tls" // over TCP
)

// MaxRelays is how many relays a machine may be told to use beside the hub's, and how
// many the hub may add.
const MaxRelays = 4

const (
	// RFC 7065 section 3.2.
	defaultRelayPort    = 3478
	defaultRelayTLSPort = 5349

	maxRelayURI  = 1024 // bytes
	maxRelayUser = 508  // RFC 8489 section 14.3
)

var errRelay = errors.New("want turn:USER:PASSWORD@HOST:PORT, with ?transport=tcp if not over UDP, or turns:… over TLS")

// ParseRelay reads a turn URI. Its errors do not repeat the password.
func ParseRelay(s string) (Relay, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	r := Relay{Transport: RelayUDP}
	switch {
	case len(s) > maxRelayURI:
		return Relay{}, fmt.Errorf("longer than %d bytes: %w", maxRelayURI, errRelay)
	case !ok:
		return Relay{}, fmt.Errorf("no turn URI: %w", errRelay)
	case strings.EqualFold(scheme, "turns"):
		r.Transport = RelayTLS
	case strings.EqualFold(scheme, "stun"), strings.EqualFold(scheme, "stuns"):
		return Relay{}, fmt.Errorf("a STUN server does not relay: %w", errRelay)
	case !strings.EqualFold(scheme, "turn"):
		return Relay{}, fmt.Errorf("no turn URI: %w", errRelay)
	}
	if strings.HasPrefix(rest, "//") {
		return Relay{}, fmt.Errorf("no slashes follow %s: %w", scheme, errRelay)
	}
	rest, query, _ := strings.Cut(rest, "?")
	if err := r.setQuery(query); err != nil {
		return Relay{}, err
	}
	host := rest
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		host = rest[i+1:]
		if r.Secret != "" {
			return Relay{}, errors.New("a user and a secret: the user is made of the secret, so give one of them")
		}
		if err := r.setCredentials(rest[:i]); err != nil {
			return Relay{}, err
		}
	}
	if err := r.setHost(host); err != nil {
		return Relay{}, err
	}
	return r, nil
}

// setQuery reads what follows the question mark.
func (r *Relay) setQuery(query string) error {
	for _, part := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		switch tls := r.Transport == RelayTLS; {
		case part == "":
		case strings.EqualFold(name, "secret"):
			var err error
			if r.Secret, err = url.PathUnescape(value); err != nil || r.Secret == "" {
				return fmt.Errorf("the secret is empty, or its %% is not followed by two hexadecimal digits: %w", errRelay)
			}
		case !strings.EqualFold(name, "transport"):
			return fmt.Errorf("no turn URI has %q: %w", name, errRelay)
		case strings.EqualFold(value, "tcp"):
			if !tls {
				r.Transport = RelayTCP
			}
		case strings.EqualFold(value, "udp") && tls:
			return fmt.Errorf("DTLS is not possible: leave out transport=udp: %w", errRelay)
		case !strings.EqualFold(value, "udp"):
			return fmt.Errorf("transport %q: %w", value, errRelay)
		}
	}
	return nil
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
	host, port := s, strconv.Itoa(r.defaultPort())
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

func (r Relay) defaultPort() int {
	if r.Transport == RelayTLS {
		return defaultRelayTLSPort
	}
	return defaultRelayPort
}

// URI is what ParseRelay takes, password and secret included.
func (r Relay) URI() string {
	credentials := ""
	if r.Username != "" {
		credentials = escapeRelay(r.Username) + ":" + escapeRelay(r.Password) + "@"
	}
	uri := r.uri(credentials)
	switch {
	case r.Secret == "":
		return uri
	case r.Transport == RelayTCP:
		return uri + "&secret=" + escapeRelay(r.Secret)
	}
	return uri + "?secret=" + escapeRelay(r.Secret)
}

// Name is the URI of RFC 7065, without credentials: for people to read.
func (r Relay) Name() string { return r.uri("") }

func (r Relay) uri(credentials string) string {
	scheme, query := "turn:", ""
	switch r.Transport {
	case RelayTLS:
		scheme = "turns:"
	case RelayTCP:
		query = "?transport=tcp"
	}
	return scheme + credentials + net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port))) + query
}

// escapeRelay leaves nothing unescaped that means something in a turn URI.
func escapeRelay(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// relaySecretLife is for how long a user that is made of a secret is good, at least:
// an allocation lasts no longer, and who makes it could as well make another.
const relaySecretLife = 30 * 24 * time.Hour

// Credentials are the user and the password to ask the server with now. Of a secret
// they are made as servers agree on that have one (a draft of RFC 7635's time, "A REST
// API For Access To TURN Services"): the user is when it ends, the password a MAC of
// it. They change once in 30 days.
func (r Relay) Credentials(now time.Time) (username, password string) {
	if r.Secret == "" {
		return r.Username, r.Password
	}
	const life = int64(relaySecretLife / time.Second)
	username = strconv.FormatInt((now.Unix()/life+2)*life, 10) + ":p2ptun"
	mac := hmac.New(sha1.New, []byte(r.Secret))
	mac.Write([]byte(username))
	return username, base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
