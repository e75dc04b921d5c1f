package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// STUNPath is where a hub tells anybody the addresses of its STUN servers, as JSON:
// they are no secret, and who looks into why nothing works is no member yet.
const STUNPath = "/v1/stun"

// STUNServers are the addresses at which a hub answers Binding requests.
type STUNServers struct {
	Servers []netip.AddrPort `json:"servers"` // STUN and TURN
	STUN    []netip.AddrPort `json:"stun"`    // STUN alone, at other ports or addresses
}

// HubAnswer is what AskSTUN found out.
type HubAnswer struct {
	STUNServers
	URL string        // that led to the hub
	RTT time.Duration // of a request over the open connection
}

const maxSTUNAnswer = 4 << 10 // bytes

// AskSTUN asks a hub for its STUN servers, by all of its addresses at once; the
// first answer counts.
func AskSTUN(ctx context.Context, dial DialFunc, hub config.Hub) (*HubAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel() // ends the others
	type outcome struct {
		answer *HubAnswer
		err    error
	}
	done := make(chan outcome, len(hub.URLs))
	for _, to := range hub.URLs {
		go func() {
			a, err := askSTUN(ctx, dial, hub.Key, to)
			done <- outcome{a, err}
		}()
	}
	var errs error
	for range hub.URLs {
		o := <-done
		if o.err == nil {
			return o.answer, nil
		}
		errs = errors.Join(errs, o.err)
	}
	return nil, errs
}

func askSTUN(ctx context.Context, dial DialFunc, key config.HubKey, to string) (*HubAnswer, error) {
	open := func(ctx context.Context, _, _ string) (net.Conn, error) {
		raw, err := dialURL(ctx, dial, to)
		if err != nil {
			return nil, err
		}
		conn, _, err := secure(ctx, raw, key, to, httpProtocol)
		if err != nil {
			raw.Close()
		}
		return conn, err
	}
	transport := &http.Transport{DialContext: open, DialTLSContext: open, DisableKeepAlives: true}
	began := time.Now()
	var sent, heard atomic.Int64 // since then; the transport's goroutines write them
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { sent.Store(int64(time.Since(began))) },
		GotFirstResponseByte: func() { heard.Store(int64(time.Since(began))) },
	})
	r, err := http.NewRequestWithContext(ctx, "GET", strings.Replace(to, "ws", "http", 1)+STUNPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the hub at %s: %w", to, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %q: it is no p2ptun hub, or an old one", to, resp.Status)
	}
	a := &HubAnswer{URL: to, RTT: time.Duration(heard.Load() - sent.Load())}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxSTUNAnswer)).Decode(&a.STUNServers); err != nil {
		return nil, fmt.Errorf("the answer of %s: %w", to, err)
	}
	return a, nil
}
