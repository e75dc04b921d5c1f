// Package signaling is how nodes find and authenticate each other: the frames
// between node and hub, the records that admins sign, the requests by which a
// machine joins, and the seals that keep offers, answers and candidates from
// the hub that carries them.
//
// It owns every signed or sealed format and the client's connection to the
// hub; subpackage hub is the server. It knows nothing of ICE agents or of
// WireGuard: what is sealed is opaque bytes to it.
//
// All binary formats are big-endian and length-prefixed, and begin with a
// version. Signed bodies are verified first, then decoded strictly, and never
// encoded again.
package signaling
