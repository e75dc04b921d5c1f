package signaling

import (
	"context"
	"net"
)

// SetDial has the client open its connections with dial.
func (c *Client) SetDial(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	c.netDial = dial
}
