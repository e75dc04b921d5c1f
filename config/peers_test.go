package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestPeers(t *testing.T) {
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got, err := d.LoadPeers(); err != nil || got != nil {
		t.Errorf("without a file: %v, %v", got, err)
	}
	want := []KnownPeer{{Node: NewNodeKey().Public(), Epoch: 7, Active: true, Addresses: []KnownAddress{
		{Address: netip.MustParseAddrPort("203.0.113.1:5"), Seen: time.Unix(1, 0).UTC()},
		{Address: netip.MustParseAddrPort("[2001:db8::1]:5"), Relayed: true, Seen: time.Unix(2, 0).UTC()},
	}}}
	if err := d.SavePeers(want); err != nil {
		t.Fatal(err)
	}
	if got, err := d.LoadPeers(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	path := filepath.Join(d.Path(), peersFile)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	want[0].Addresses = make([]KnownAddress, MaxKnownAddresses+1)
	for i := range want[0].Addresses {
		want[0].Addresses[i].Address = netip.MustParseAddrPort("203.0.113.1:5")
	}
	if err := d.SavePeers(want); err != nil {
		t.Fatal(err)
	}
	if _, err := d.LoadPeers(); err == nil {
		t.Error("took more addresses than any peer has")
	}
	if err := d.Forget(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the addresses outlive `leave`")
	}
}
