// Package first measures how long it takes from the start of a node's process,
// or from the packet that wakes an idle peer, to the first ping answered, in a
// lab with the same delay on every uplink.
//
//	a ── NAT ══delay══ core ══delay══ NAT ── b
//	                    ║
//	                  delay
//	                    ║
//	                   hub
//
// It owns the lab, the pings and the table; the programs are real.
package first
