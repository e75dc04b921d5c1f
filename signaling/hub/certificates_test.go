package hub

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

// A renewed certificate is served without a restart, a broken one never.
func TestCertificateRenewal(t *testing.T) {
	var said bytes.Buffer
	cert, key := newPair(t, []string{"localhost"})
	c, err := newCertificates(cert, key, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	first, now := c.current(time.Now()), time.Now()
	at := func(after time.Duration) *tls.Certificate { return c.current(now.Add(after)) }
	touch := func(name string) {
		t.Helper()
		if err := os.Chtimes(name, now, now.Add(time.Second)); err != nil { // a clock may be coarse
			t.Fatal(err)
		}
	}

	next := certify(t, []string{"localhost"})
	writePair(t, cert, key+".new", next) // half of the renewal
	touch(cert)
	if at(certLookInterval/2) != first || said.Len() > 0 {
		t.Error("looked too soon")
	}
	for n := range 3 {
		if at(time.Duration(n+2)*certLookInterval) != first {
			t.Error("a pair that does not match was taken")
		}
	}
	if n := strings.Count(said.String(), "cannot be renewed"); n != 1 {
		t.Errorf("said %d times that it cannot be renewed", n)
	}
	if err := os.Rename(key+".new", key); err != nil {
		t.Fatal(err)
	}
	if got := at(6 * certLookInterval); !bytes.Equal(got.Certificate[0], next.Certificate[0]) {
		t.Error("the renewed certificate is not served")
	}
	os.Remove(cert)
	if got := at(8 * certLookInterval); !bytes.Equal(got.Certificate[0], next.Certificate[0]) {
		t.Error("with the file the certificate was lost")
	}
}

// An expired certificate locks nobody out: members get the hub's own.
func TestCertificateExpired(t *testing.T) {
	var said bytes.Buffer
	cert, key := newPair(t, []string{"localhost"}, expired)
	h := startHub(t, Config{TLSCert: cert, TLSKey: key, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if got := peerTLS(t, h.listener.Addr(), "localhost").PeerCertificates[0]; len(got.DNSNames) > 0 {
		t.Error("it is served")
	}
	h.stop()
	if !strings.Contains(said.String(), "has expired") {
		t.Error("nothing was said of it")
	}
}
