package peer

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestNoPasswordIsLogged(t *testing.T) {
	inLab(t, func(l *lab) {
		var b bytes.Buffer
		l.log = slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
		k := l.pair(port(l), symmetric(l))
		k.online()
		k.connected(l, PathRelayed, time.Second)
		var secrets []string
		for _, n := range []*side{k.a, k.b} {
			n.underlay.mux.mu.Lock()
			for _, s := range n.underlay.mux.sessions {
				_, pwd := s.credentials()
				secrets = append(secrets, pwd)
			}
			n.underlay.mux.mu.Unlock()
		}
		k.a.stop()
		k.b.stop()
		if len(secrets) != 2 || !strings.Contains(b.String(), "new ICE session") {
			t.Fatalf("secrets %q, log %q", secrets, b.String())
		}
		for _, s := range append(secrets, "secret") {
			if strings.Contains(b.String(), s) {
				t.Errorf("the log has a password: %s", b.String())
			}
		}
	})
}
