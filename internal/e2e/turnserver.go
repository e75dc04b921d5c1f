package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// coturnPort is not the hub's, which may be on the same machine.
const coturnPort = 3479

// StartCoturn runs Debian's coturn on a host, and returns the URI of the relay.
// Who kills the process may start it again, with the same URI.
func (r *Rig) StartCoturn(ctx context.Context, host *natlab.Host) (p *Process, uri string, err error) {
	at := netip.AddrPortFrom(host.Addr(), coturnPort)
	file := func(suffix string) string { return filepath.Join(r.Dir, host.Name()+suffix) }
	p, err = r.run(host.Command(ctx, "turnserver", "-n", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--no-rfc5780",
		"--log-file", "stdout", "--simple-log", "--pidfile", file(".pid"), "--userdb", file(".db"),
		"-L", at.Addr().String(), "-p", fmt.Sprint(at.Port()),
		"--lt-cred-mech", "--user", "us:pass", "-r", "realm"), host.Name())
	return p, fmt.Sprintf("turn:us:pass@%v", at), err
}
