package hub

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority is the one that this process's system trusts: TestMain sees to it.
var authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// trustAuthority makes the authority and has package x509 take it for the
// system's only one. It runs before anything has asked for those.
func trustAuthority() (remove func(), err error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if authority.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	authority.key = key
	dir, err := os.MkdirTemp("", "p2ptun-authority-")
	if err != nil {
		return nil, err
	}
	os.Setenv("SSL_CERT_DIR", dir)
	os.Setenv("SSL_CERT_FILE", filepath.Join(dir, "ca.pem"))
	remove = func() { os.RemoveAll(dir) }
	return remove, os.WriteFile(filepath.Join(dir, "ca.pem"), pemOf("CERTIFICATE", der), 0o600)
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// certify makes a certificate of the authority's, or a self-signed one if it
// has no names; change, if any, alters it before.
func certify(t testing.TB, names []string, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, f := range change {
		f(template)
	}
	parent, signer := authority.cert, authority.key
	if len(names) == 0 {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// writePair stores a certificate and its key as an operator has them.
func writePair(t testing.TB, cert, key string, pair tls.Certificate) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{cert: pemOf("CERTIFICATE", pair.Certificate[0]), key: pemOf("PRIVATE KEY", der)} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// newPair stores a certificate for names in files of their own.
func newPair(t testing.TB, names []string, change ...func(*x509.Certificate)) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, certify(t, names, change...))
	return cert, key
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
