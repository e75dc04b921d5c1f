package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

func TestPrintPeer(t *testing.T) {
	peers := testPeers()
	for _, tt := range []struct {
		p    tunnel.PeerStatus
		want string
	}{
		{peers[0], `node:              desktop
id:                aaaa
addresses:         10.77.0.2, fd00::2
state:             connected
ice:               completed
path:              direct
local:             192.168.1.2:5000 (host)
remote:            203.0.113.9:6000 (srflx)
rtt:               12.3 ms
mtu:               1280
received:          5.0 MiB
sent:              1000 B
handshake:         1m23s ago
post-quantum key:  yes, since 1h0m0s ago
`},
		{peers[2], `node:              tv
id:                cccc
addresses:         
state:             offline
why:               not connected to the hub
ice:               -
path:              none
rtt:               -
mtu:               1280
received:          0 B
sent:              0 B
handshake:         never
post-quantum key:  not yet
`},
	} {
		var got bytes.Buffer
		printPeer(&got, tt.p, now)
		if got.String() != tt.want {
			t.Errorf("got\n%s\nwant\n%s", got.String(), tt.want)
		}
	}
}

func testPairs() []tunnel.PairStatus {
	end := func(typ peer.CandidateType, addr string) tunnel.EndpointStatus {
		return tunnel.EndpointStatus{Type: typ, Address: addr}
	}
	rtt, slow, loss, answered, before := 12.345, 48.0, 0.034, now.Add(-time.Second), now.Add(-25*time.Second)
	here, relay := end(peer.Host, "192.168.100.200:41641"), end(peer.Relayed, "198.51.100.7:7000")
	pairs := []tunnel.PairStatus{
		{Local: here, Remote: end(peer.ServerReflexive, "203.0.113.129:61234"), State: peer.PairSucceeded, RTT: &rtt, Loss: &loss, LastAnswer: &answered, Chosen: true, Nominated: true, Suspect: true},
		{Local: relay, Relay: "192.0.2.1:3478", Remote: end(peer.ServerReflexive, "203.0.113.129:61234"), State: peer.PairSucceeded, RTT: &slow, LastAnswer: &answered},
		{Local: end(peer.Host, "[fd70:14e4:d8c3:5fe2:40b0:cc3a:88df:c4ab]:22564"), Remote: end(peer.PeerReflexive, "[2001:db8:d8c3:5fe2:40b0:cc3a:88df:c4ab]:22564"),
			State: peer.PairFailed, RTT: &slow, LastAnswer: &before, Nominated: true},
	}
	for state, n := range map[peer.PairState]int{peer.PairInProgress: 7, peer.PairWaiting: 4, peer.PairFailed: 18} {
		for range n {
			pairs = append(pairs, tunnel.PairStatus{Local: here, Remote: end(peer.Host, "10.0.0.1:1"), State: state})
		}
	}
	return pairs
}

// TestPrintPairs: what matters of 32 pairs, in 100 columns.
func TestPrintPairs(t *testing.T) {
	const head = `
pairs (* carries the data, + is nominated, ? data waits there for an answer):
    STATE             RTT  LOSS ANSWERED  FROM → TO
`
	trying := strings.Repeat("    in-progress         -     -    never  192.168.100.200:41641 host → 10.0.0.1:1 host\n", shownTrying)
	want := head + `*+? succeeded     12.3 ms    3%   1s ago  192.168.100.200:41641 host → 203.0.113.129:61234 srflx
    succeeded     48.0 ms     -   1s ago  198.51.100.7:7000 relay → 203.0.113.129:61234 srflx
+   failed        48.0 ms     -  25s ago  [fd70:14e4:d8c3:5fe2:40b0:cc3a:88df:c4ab]:22564 host
                                          → [2001:db8:d8c3:5fe2:40b0:cc3a:88df:c4ab]:22564 prflx
` + trying + "    and of others: 2 in-progress, 4 waiting, 18 failed\n"
	var got bytes.Buffer
	printPairs(&got, testPairs(), now)
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
	for line := range strings.Lines(got.String()) {
		if n := utf8.RuneCountInString(line); n > 101 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	got.Reset()
	if printPairs(&got, nil, now); got.Len() > 0 {
		t.Errorf("of none: %q", got.String())
	}
}

func TestPrintEvents(t *testing.T) {
	first := now.Add(-5 * time.Minute)
	var got bytes.Buffer
	printEvents(&got, []tunnel.EventStatus{
		{Time: now.Add(-4 * time.Hour), Text: "offline, as the hub says"},
		{Time: now.Add(-90 * time.Second), Text: "session offered: peer is online"},
		{Time: now.Add(-time.Second), Text: "handshake", Count: 3, First: &first},
	}, now)
	const want = `
events:
2030-01-01 23:04:05.000  offline, as the hub says
03:02:35.000  session offered: peer is online
03:04:04.000  handshake (3 times since 02:59:05.000)
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

func TestStatusOfOne(t *testing.T) {
	s := serve(t, &fakeNode{})
	code, out, errs := s.command(t, "status", "box")
	for _, want := range []string{"node:              box\n", "*   succeeded", "events:\n"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, without %q:\n%s%s", code, want, out, errs)
		}
	}
	code, out, _ = s.command(t, "status", "box", "--json")
	for _, want := range []string{`"pairs": [`, `"chosen": true`, `"events": [`, `"text": "handshake"`} {
		if code != 0 || strings.Count(out, want) != 1 {
			t.Errorf("exit code %d, want one %s:\n%s", code, want, out)
		}
	}
	if _, out, _ = s.command(t, "status", "--json"); strings.Contains(out, `"pairs"`) || strings.Contains(out, `"events"`) {
		t.Errorf("pairs and events of all:\n%s", out)
	}
}

// TestWatchStatus: it is shown each second until that ends, or it fails.
func TestWatchStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shown := 0
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		if err := watchStatus(ctx, time.Second, func() error { shown++; return nil }); err != nil || shown != 3 {
			t.Errorf("%v after %d times, want 3", err, shown)
		}
		gone := errors.New("gone")
		if err := watchStatus(t.Context(), time.Second, func() error { return gone }); err != gone {
			t.Errorf("%v, want what went wrong", err)
		}
		if err := watchStatus(ctx, time.Second, func() error { return ctx.Err() }); err != nil {
			t.Errorf("%v at the end, want none", err)
		}
	})
}
