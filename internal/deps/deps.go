// Package deps only holds the module's requirements until their users exist.
package deps

import (
	_ "github.com/google/nftables"
	_ "github.com/gorilla/websocket"
	_ "github.com/pelletier/go-toml/v2"
	_ "github.com/pion/ice/v4"
	_ "github.com/pion/logging"
	_ "github.com/pion/stun/v4"
	_ "github.com/pion/transport/v5"
	_ "github.com/pion/transport/v5/vnet"
	_ "github.com/pion/turn/v5"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/vishvananda/netlink"
	_ "github.com/vishvananda/netns"
	_ "go.etcd.io/bbolt"
	_ "golang.org/x/crypto/cryptobyte"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/time/rate"
	_ "golang.zx2c4.com/wireguard/conn"
	_ "golang.zx2c4.com/wireguard/device"
)
