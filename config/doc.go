// Package config holds what a machine keeps and what people paste: keys, the
// node's state directory, the config file, hub links and invites.
//
// It owns the formats of those and their files (mode 0600, replaced
// atomically, one process at a time). It never touches the network, and it
// imports no other package of this module. Signed objects pass through it as
// opaque bytes; package signaling makes and checks them.
package config
