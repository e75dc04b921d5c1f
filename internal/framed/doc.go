// Package framed carries STUN messages and ChannelData over a byte stream (RFC
// 8489 section 6.2.2, RFC 8656 section 12.5): TCP, TLS, or a WebSocket. Both kinds
// of message say how long they are, so there is no framing but theirs; ChannelData
// is padded to four bytes.
//
// It owns the order of bytes, and what happens when the stream is slower than who
// sends: packets that have waited too long are dropped, as a router's queue would.
// It knows no addresses, and does not look into what a message says.
package framed
