package peer

import "github.com/pion/transport/v5"

// netless is the transport.Net for pion's agent: it is given every address and
// socket, so it knows no interfaces. Calling another method is a mistake, and
// panics.
type netless struct{ transport.Net }

func (netless) Interfaces() ([]*transport.Interface, error) { return nil, nil }
