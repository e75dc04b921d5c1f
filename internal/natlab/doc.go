// Package natlab is a test internet: public hosts, homes behind NATs of each
// RFC 4787 kind, carrier-grade NAT above a home, and links with delay, loss
// and a rate, all made of Linux network namespaces.
//
//	                core (routes between all public addresses)
//	 ┌───────────────┬─┴───────────────┬──────────────────┐
//	hub            home1              isp                home3
//	192.0.2.2      NAT 198.51.100.2   CGNAT 203.0.113.2  NAT, WebOnly
//	               ├─ a 192.168.1.2    │                  └─ d
//	               └─ b 192.168.1.3   home2
//	                                  NAT 100.64.2.2
//	                                   └─ c 192.168.3.2
//
// IPv6 is routed, not translated: to public hosts that have it (2001:db8:1::/64),
// and to networks behind a router with a firewall that tracks state, or none
// (2001:db8:2:N::/64). A network without IPv4 may reach that by NAT64.
//
// It owns the namespaces, what is inside them, and the processes started in
// them. Namespaces are anonymous: only file descriptors of this process hold
// them, so they vanish with it, crash included (but for a daemon started inside
// that has left its parent), and the machine's own interfaces, routes and
// firewall are never touched. It runs no program of the
// machine (no ip, nft, sysctl), but tayga where NAT64 is asked for, and knows
// nothing of p2ptun: it is used by tests and by the demo only.
//
// A lab needs CAP_SYS_ADMIN and CAP_NET_ADMIN. [Enter] gets them for an
// ordinary user through a user namespace; [Available] says why a lab cannot be
// made.
package natlab
