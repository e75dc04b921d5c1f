// Package nat64 is the way to IPv4 from a network that has none, but a NAT64 (RFC
// 6146): what IPv6 address stands for an IPv4 one (RFC 6052), and how the network's
// prefix is found (RFC 7050).
//
// It is used where datagrams and connections leave and arrive, and nowhere else: all
// above goes on to speak of IPv4 addresses, the machine's own among them, as if the
// machine had a translator of its own (464XLAT, RFC 6877). So servers, candidates,
// checks and mappings need to know nothing of it.
//
// The prefix is the resolver's word, which decides where IPv4 packets go, no more
// than a router's does: they are authenticated by who gets them.
package nat64
