package signaling

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// A hub needs no domain: it serves a self-signed certificate that says whose
// it is, in an extension that holds, as an OCTET STRING,
//
//	hub identity (32) ‖ its signature (64) over the certificate's public key (SPKI)
//
// Whoever has the identity from a link or an invite needs no other word for
// it; names and dates of such a certificate mean nothing.

// oidHub names the extension. Numbers under 2.25 need no registration (ITU-T
// X.667); this one is drawn, and as large as package asn1 takes.
var oidHub = asn1.ObjectIdentifier{2, 25, 1731548419}

// noNetwork stands for the network in what a hub signs of itself alone.
var noNetwork config.ID

// noExpiry is RFC 5280's date for certificates that have none (4.1.2.5).
var noExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// HubCertificate makes the certificate under which a hub serves the TLS key.
func HubCertificate(hub config.HubPrivateKey, key ed25519.PrivateKey) (*tls.Certificate, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	id := hub.Public()
	value, err := asn1.Marshal(append(id[:], hub.Sign(toSign(kindTLS, noNetwork, spki))...))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "p2ptun hub"},
		NotBefore: time.Unix(0, 0), NotAfter: noExpiry, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		ExtraExtensions: []pkix.Extension{{Id: oidHub, Value: value}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("hub certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// hubOf is the hub whose own certificate it is, the zero key if it is none's.
func hubOf(cert *x509.Certificate) (hub config.HubKey) {
	for _, e := range cert.Extensions {
		if !e.Id.Equal(oidHub) {
			continue
		}
		var value []byte
		rest, err := asn1.Unmarshal(e.Value, &value)
		if err != nil || len(rest) > 0 || len(value) != len(hub)+signatureSize {
			break
		}
		id := config.HubKey(value[:len(hub)])
		if id.Verify(toSign(kindTLS, noNetwork, cert.RawSubjectPublicKeyInfo), value[len(hub):]) {
			return id
		}
	}
	return config.HubKey{}
}

// checkCertificate takes the hub's own certificate whatever its names and
// dates, else one that is good for the host under the roots (nil: the
// system's). The first proves who ends the TLS session, the second only that
// it stands at that name: a proxy may.
func checkCertificate(chain []*x509.Certificate, want config.HubKey, host string, roots *x509.CertPool) (own bool, err error) {
	leaf := chain[0]
	hub := hubOf(leaf)
	if hub == want && !want.IsZero() {
		return true, nil
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between})
	switch {
	case err == nil:
		return false, nil
	case !hub.IsZero():
		return false, &certificateError{anotherHub(hub, want)}
	}
	return false, &certificateError{config.WithHint(
		fmt.Errorf("the certificate at %s is neither that of %v nor one that this machine trusts: %w", host, want, err),
		"something stands before the hub and would read along, a proxy or a login page; nothing was sent to it")}
}

func anotherHub(is, want config.HubKey) error {
	return fmt.Errorf("the hub says it is %v, not %v: its state was lost or another hub took its address", is, want)
}

// certificateError says that the TLS session was refused before a word.
type certificateError struct{ error }

// exporterLabel and exporterSize say what the proofs of a handshake cover of
// the TLS session beneath (RFC 8446, 7.5): no two sessions have it in common.
const (
	exporterLabel = "EXPORTER-p2ptun-v1"
	exporterSize  = 32

	// earlyLabel is of the nonce that needs no telling, see EarlyNonce.
	earlyLabel = "EXPORTER-p2ptun-v1-early"
)

// Exporter is a connection's part of a Handshake: of its TLS session, or of the one
// beneath what was wrapped around it, or nil if it has none.
func Exporter(conn net.Conn) ([]byte, error) { return export(conn, exporterLabel, exporterSize) }

// EarlyNonce is the hub's nonce of a hello that comes with the request of the
// WebSocket, or nil if there is no TLS. It is of the TLS session and of no other,
// as one is that the hub draws, and both ends know it when the session begins.
func EarlyNonce(conn net.Conn) ([]byte, error) { return export(conn, earlyLabel, NonceSize) }

func export(conn net.Conn, label string, size int) ([]byte, error) {
	s, ok := conn.(*tls.Conn)
	for above, on := conn.(interface{ NetConn() net.Conn }); !ok && on; above, on = conn.(interface{ NetConn() net.Conn }) {
		conn = above.NetConn()
		s, ok = conn.(*tls.Conn)
	}
	if !ok {
		return nil, nil
	}
	state := s.ConnectionState()
	return state.ExportKeyingMaterial(label, nil, size)
}
