package hub

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/signaling"
)

// handler takes WebSocket requests at signaling.Path and RelayPath, and says where
// the STUN servers are. Once upgraded a connection has its own goroutine, so that
// net/http's buffers go.
func (h *Hub) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	signals := newUpgrader(signaling.Subprotocol, 512) // frames are longer, but rare
	mux.HandleFunc("GET "+signaling.Path, h.upgrade(signals, func(ws *websocket.Conn, r *http.Request, release func()) {
		c := newConn(h, ws, observed(r), release)
		c.early = r.Header.Get(signaling.HelloHeader)
		c.run(ctx)
	}))
	relay := newUpgrader(signaling.RelaySubprotocol, 4<<10)
	mux.HandleFunc("GET "+signaling.RelayPath, h.upgrade(relay, func(ws *websocket.Conn, r *http.Request, release func()) {
		h.serveStream(ctx, "WebSocket", signaling.Stream(ws), observed(r).IsValid(), release)
	}))
	mux.HandleFunc("GET "+signaling.STUNPath, h.tellSTUN)
	return mux
}

// tellSTUN answers anybody where the STUN servers are.
func (h *Hub) tellSTUN(w http.ResponseWriter, r *http.Request) {
	if !h.strangers.allow(source(r)) {
		h.drops.refused.Add(1)
		http.Error(w, "too many requests from this address", http.StatusTooManyRequests)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(signaling.STUNServers{Servers: h.credentials.servers, STUN: h.credentials.stun})
}

// newUpgrader takes WebSockets of one subprotocol.
func newUpgrader(subprotocol string, readBuffer int) *websocket.Upgrader {
	return &websocket.Upgrader{
		ReadBufferSize:  readBuffer,
		WriteBufferSize: 2 << 10,
		WriteBufferPool: new(sync.Pool),
		Subprotocols:    []string{subprotocol},
		CheckOrigin:     func(r *http.Request) bool { return r.Header.Get("Origin") == "" },
	}
}

// upgrade has serve run in a goroutine of its own. It has to call release when the
// connection does not count against its source any more.
func (h *Hub) upgrade(u *websocket.Upgrader, serve func(ws *websocket.Conn, r *http.Request, release func())) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if want := u.Subprotocols[0]; !slices.Contains(websocket.Subprotocols(r), want) {
			http.Error(w, "want the WebSocket subprotocol "+want, http.StatusBadRequest)
			return
		}
		release, ok := h.strangers.enter(source(r))
		if !ok {
			h.drops.refused.Add(1)
			http.Error(w, "too many connections from this address", http.StatusTooManyRequests)
			return
		}
		ws, err := u.Upgrade(w, r, nil) // it answers the refused itself
		if err != nil {
			release()
			return
		}
		if !h.conns.start(func() { serve(ws, r, release) }) {
			release()
			ws.Close()
		}
	}
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
