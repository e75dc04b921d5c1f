// Package tun owns the node's network interface: it creates the TUN device,
// gives it addresses and routes, each with its MTU, and undoes all of it. It
// also looks at the host's other interfaces, because two questions have the
// same answer there: does the network's prefix collide with something that is
// already connected (CheckConflicts), and which local addresses may a peer be
// told (LocalAddrs, Watch).
//
// Everything goes through netlink; no program is executed. The package knows
// nothing of peers, keys or signaling, does no more to a packet than pad it,
// and changes no interface but its own. Only Linux is supported; elsewhere
// every function returns an error that wraps errors.ErrUnsupported.
//
// An error whose remedy is known has a method Hint() string.
package tun
