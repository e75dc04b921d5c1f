package hub

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/signaling"
)

// handler takes WebSocket requests at signaling.Path and nothing else. Once
// upgraded a connection has its own goroutine, so that net/http's buffers go.
func (h *Hub) handler(ctx context.Context) http.Handler {
	upgrader := &websocket.Upgrader{
		ReadBufferSize:  512, // frames are longer, but rare
		WriteBufferSize: 2 << 10,
		WriteBufferPool: new(sync.Pool),
		Subprotocols:    []string{signaling.Subprotocol},
		CheckOrigin:     func(r *http.Request) bool { return r.Header.Get("Origin") == "" },
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+signaling.Path, func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(websocket.Subprotocols(r), signaling.Subprotocol) {
			http.Error(w, "want the WebSocket subprotocol "+signaling.Subprotocol, http.StatusBadRequest)
			return
		}
		release, ok := h.strangers.enter(source(r))
		if !ok {
			h.drops.refused.Add(1)
			http.Error(w, "too many connections from this address", http.StatusTooManyRequests)
			return
		}
		ws, err := upgrader.Upgrade(w, r, nil) // it answers the refused itself
		if err != nil {
			release()
			return
		}
		c := newConn(h, ws, observed(r), release)
		c.early = r.Header.Get(signaling.HelloHeader)
		if !h.conns.start(func() { c.run(ctx) }) {
			release()
			ws.Close()
		}
	})
	return mux
}

// proxied says whether a proxy passed the request on; its address is then not
// the node's.
func proxied(r *http.Request) bool {
	return r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Via") != ""
}

// observed is the node's own address, invalid behind a proxy.
func observed(r *http.Request) netip.AddrPort {
	if proxied(r) {
		return netip.AddrPort{}
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// source is whom to count a connection against. A proxy on this machine says
// whom it speaks for; any other could say anything.
func source(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	peer := from.Addr()
	if err != nil || !peer.IsLoopback() || !proxied(r) {
		return peer.Unmap()
	}
	hops := strings.Split(r.Header.Get("X-Forwarded-For"), ",")
	said, err := netip.ParseAddr(strings.TrimSpace(hops[len(hops)-1]))
	if err != nil {
		return peer.Unmap()
	}
	return said.Unmap()
}
