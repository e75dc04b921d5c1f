package main

import (
	"bufio"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/conn"
	wgdevice "golang.zx2c4.com/wireguard/device"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

const (
	wireGuardRole = "role:wireguard-go"
	wireGuardPort = 51820
	wireGuardMTU  = 1420 // wireguard-go's default
)

// tunnelAddrs are those of a, b and c inside a tunnel of wireguard-go.
var tunnelAddrs = [3]netip.Addr{netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2"), netip.MustParseAddr("10.77.0.3")}

// runWireGuard is wireguard-go as it comes: a TUN interface, the device, its
// own Bind, and the configuration on stdin. It runs until stdin ends, and
// prints a line when it is up.
func runWireGuard(addr string) error {
	prefix, err := netip.ParsePrefix(addr)
	if err != nil {
		return err
	}
	config := bufio.NewReader(os.Stdin)
	var lines strings.Builder
	for {
		line, err := config.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "\n" {
			break
		}
		lines.WriteString(line)
	}
	tun, err := wgtun.CreateTUN("wg0", wireGuardMTU)
	if err != nil {
		return err
	}
	d := wgdevice.NewDevice(tun, conn.NewStdNetBind(), wgdevice.NewLogger(wgdevice.LogLevelError, ""))
	defer d.Close()
	if err := errors.Join(d.IpcSet(lines.String()), d.Up(), configure("wg0", prefix)); err != nil {
		return err
	}
	fmt.Println("up")
	_, err = io.Copy(io.Discard, config)
	return err
}

// configure gives an interface its address and brings it up.
func configure(name string, prefix netip.Prefix) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), 32)}}
	return errors.Join(netlink.AddrAdd(link, addr), netlink.LinkSetUp(link))
}

// startWireGuard runs wireguard-go on all three hosts: a has two peers, the
// others a alone.
func startWireGuard(ctx context.Context, s *stage) error {
	var keys [3]*ecdh.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			return err
		}
	}
	hosts := [3]*natlab.Host{s.a, s.b, s.c}
	s.addr = tunnelAddrs
	for i, peers := range [3][]int{{1, 2}, {0}, {0}} {
		config := fmt.Sprintf("private_key=%x\nlisten_port=%d\n", keys[i].Bytes(), wireGuardPort)
		for _, p := range peers {
			config += fmt.Sprintf("public_key=%s\nendpoint=%v\nallowed_ip=%v/32\n",
				hex.EncodeToString(keys[p].PublicKey().Bytes()), netip.AddrPortFrom(hosts[p].Addr(), wireGuardPort), s.addr[p])
		}
		pid, err := s.startRole(ctx, hosts[i], config+"\n", wireGuardRole, netip.PrefixFrom(s.addr[i], 24).String())
		if err != nil {
			return err
		}
		p := proc{hosts[i].Name(), pid}
		if i < 2 {
			s.procs = append(s.procs, p)
		} else {
			s.third = p
		}
	}
	return nil
}
