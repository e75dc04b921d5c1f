package signaling

import (
	"io"
	"net"
	"time"

	"github.com/gorilla/websocket"
)

// How TURN over a stream is asked for at the hub's one port. Over TCP without TLS
// nothing is: a STUN message is unlike anything else that may begin there.
const (
	// RelayProtocol is agreed on under TLS (ALPN, RFC 7443).
	RelayProtocol = "stun.turn"

	// RelayPath and RelaySubprotocol are of a WebSocket whose binary messages are
	// the stream, wherever they begin and end.
	RelayPath        = "/v1/relay"
	RelaySubprotocol = "p2ptun-relay.v1"
)

// Stream makes a WebSocket a stream of bytes. Reading is for one goroutine and
// writing, with its deadline, for one; the rest is safe for concurrent use.
func Stream(ws *websocket.Conn) net.Conn { return &webStream{Conn: ws} }

type webStream struct {
	*websocket.Conn
	message io.Reader // being read; nil: none
}

func (s *webStream) Read(b []byte) (int, error) {
	for {
		if s.message == nil {
			kind, r, err := s.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				continue
			}
			s.message = r
		}
		n, err := s.message.Read(b)
		if err == io.EOF {
			s.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (s *webStream) Write(b []byte) (int, error) {
	if err := s.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// SetDeadline sets both deadlines.
func (s *webStream) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}
