package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

// TestParseUpMerge holds who wins: flag, config file, default.
func TestParseUpMerge(t *testing.T) {
	full := `
name = "file"
interface = "tun7"
state = "/file/state"
socket = "/file/socket"
port = 7
relay_only = true
no_gso = true
relay = ["turn:u:p@file"]
log_level = "debug"
log_format = "json"
`
	defaults := upOptions{
		File: config.File{Interface: "p2ptun0", State: "/var/lib/p2ptun", Socket: "/run/p2ptun/p2ptun0.sock"},
		log:  logFlags{"info", "text"},
	}
	fromFile := upOptions{
		File: config.File{Name: "file", Interface: "tun7", State: "/file/state", Socket: "/file/socket", Port: 7, RelayOnly: true, NoGSO: true, Relay: []string{"turn:u:p@file"}},
		log:  logFlags{"debug", "json"},
	}
	flags := []string{"--name", "flag", "--interface", "tun8", "--state", "st", "--socket", "so", "--port", "8", "--relay-only=false", "--no-gso=false", "--relay", "turn:a", "--relay", "@b",
		"--log-level", "warn", "--log-format", "text"}
	fromFlags := upOptions{
		File: config.File{Name: "flag", Interface: "tun8", State: "st", Socket: "so", Port: 8, Relay: []string{"turn:a", "@b"}},
		log:  logFlags{"warn", "text"},
	}
	socketByInterface := defaults
	socketByInterface.Interface, socketByInterface.Socket = "tun9", "/run/p2ptun/tun9.sock"
	create := defaults
	create.create, create.hub, create.prefix = "home", "-", netip.MustParsePrefix("10.77.0.0/16")
	join := defaults
	join.invite, join.foreground = "@file", true

	for _, tt := range []struct {
		name string
		file string
		args []string
		want upOptions
	}{
		{"defaults", "", nil, defaults},
		{"file", full, nil, fromFile},
		{"flags", full, flags, fromFlags},
		{"a flag may clear the port", full, append(flags, "--port", "0"), func() upOptions { o := fromFlags; o.Port = 0; return o }()},
		{"the interface names the socket", "", []string{"--interface", "tun9"}, socketByInterface},
		{"the file's interface too", `interface = "tun9"`, nil, socketByInterface},
		{"new", "", []string{"--new", "home", "--hub", "-", "--prefix", "10.77.0.0/16"}, create},
		{"join", "", []string{"@file", "--foreground"}, join},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "p2ptun.toml")
			if err := os.WriteFile(file, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := parseUp(append([]string{"--config", file}, tt.args...))
			if err != nil {
				t.Fatal(err)
			}
			tt.want.configFile = file
			if !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", *got, tt.want)
			}
		})
	}
}
