package hub

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// certificates choose what a TLS handshake is answered with: the operator's
// certificate where one of its names is asked for, else the hub's own, which
// members take under any name and under none. It is safe for concurrent use.
type certificates struct {
	own  *tls.Certificate
	cert string // the operator's files; "": there are none
	key  string
	log  *slog.Logger

	mu     sync.Mutex // guards what follows: handshakes look whether the files changed
	named  *tls.Certificate
	stamp  [2]fileStamp
	looked time.Time
	failed string // what was said of files that cannot be used
}

// certLookInterval is how often handshakes look at the certificate's files.
const certLookInterval = time.Minute

// fileStamp tells one content of a file from the next.
type fileStamp struct {
	modified time.Time
	size     int64
}

// newCertificates reads the operator's files, if there are any.
func newCertificates(cert, key string, log *slog.Logger) (*certificates, error) {
	c := &certificates{cert: cert, key: key, log: log}
	switch {
	case cert == "" && key == "":
		return c, nil
	case cert == "" || key == "":
		return nil, config.WithHint(errors.New("a certificate needs its key, and a key its certificate"), "give both --tls-cert FILE and --tls-key FILE, or neither")
	}
	c.stamp = c.stamps()
	c.looked = time.Now()
	named, err := loadNamed(cert, key)
	if err != nil {
		return nil, config.WithHint(err, "--tls-cert wants a PEM file with the certificate and its chain, --tls-key one with its key; without both the hub uses a certificate of its own")
	}
	if until := named.Leaf.NotAfter; time.Now().After(until) {
		log.Warn("the TLS certificate has expired; until it is renewed members get the hub's own", "file", cert, "expired", until)
	}
	c.named = named
	return c, nil
}

func loadNamed(cert, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s with key %s: %w", cert, key, err)
	}
	if len(pair.Leaf.DNSNames) == 0 {
		return nil, fmt.Errorf("TLS certificate %s: it is for no host name", cert)
	}
	return &pair, nil
}

// names are the host names that members can be sent to. A wildcard is none.
func (c *certificates) names() []string {
	if c == nil || c.named == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.named.Leaf.DNSNames), func(name string) bool { return strings.Contains(name, "*") })
}

// get is tls.Config.GetCertificate.
func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := time.Now()
	named := c.current(now)
	if named == nil || hello.ServerName == "" || now.After(named.Leaf.NotAfter) || hello.SupportsCertificate(named) != nil {
		return c.own, nil
	}
	return named, nil
}

// current is the operator's certificate, read again when its files have
// changed: whoever renews it need not restart the hub. As long as they cannot
// be used, as between the two writes of a renewal, the last one stays.
func (c *certificates) current(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.named == nil || now.Sub(c.looked) < certLookInterval {
		return c.named
	}
	c.looked = now
	stamp := c.stamps()
	if stamp == c.stamp {
		return c.named
	}
	named, err := loadNamed(c.cert, c.key)
	if err != nil {
		if c.failed != err.Error() {
			c.failed = err.Error()
			c.log.Warn("the TLS certificate cannot be renewed, the old one stays", "err", err)
		}
		return c.named
	}
	c.named, c.stamp, c.failed = named, stamp, ""
	c.log.Info("the TLS certificate was renewed", "file", c.cert, "expires", named.Leaf.NotAfter)
	return c.named
}

func (c *certificates) stamps() (s [2]fileStamp) {
	for i, name := range []string{c.cert, c.key} {
		if info, err := os.Stat(name); err == nil { // if it is gone, loading says so
			s[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return s
}

// tlsConfig is for TLS 1.3 alone, whose default key exchange is post-quantum.
// There are no tickets: a session that is resumed would prove nothing new.
func (c *certificates) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		GetCertificate:         c.get,
		NextProtos:             []string{signaling.RelayProtocol, "http/1.1"}, // some TURN clients offer both
		SessionTicketsDisabled: true,
	}
}
