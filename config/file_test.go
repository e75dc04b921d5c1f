package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const wholeFile = `# a comment
name = "laptop"
interface = "p2p1"
state = "/srv/p2ptun"
socket = "/run/p2p1.sock"
port = 41641
relay_only = true
log_level = "debug"
log_format = "json"
relay = ["turn:u:p@192.0.2.1", "@/etc/p2ptun/relays"]
`

func TestParseFile(t *testing.T) {
	whole := File{
		Name: "laptop", Interface: "p2p1", State: "/srv/p2ptun", Socket: "/run/p2p1.sock", Port: 41641,
		RelayOnly: true, LogLevel: "debug", LogFormat: "json", Relay: []string{"turn:u:p@192.0.2.1", "@/etc/p2ptun/relays"},
	}
	for _, c := range []struct {
		name, text string
		want       File
		err        string // part of it
	}{
		{"whole", wholeFile, whole, ""},
		{"empty", "", File{}, ""},
		{"one key", "port = 1\n", File{Port: 1}, ""},
		{"unknown key", "name = \"a\"\n\nnmae = \"b\"\n", File{}, `line 3: unknown key "nmae"`},
		{"unknown table", "name = \"a\"\n[hub]\nurl = \"b\"\n", File{}, `line 2: unknown key "hub"`},
		{"unknown dotted key", "log.level = \"a\"\n", File{}, `line 1: unknown key "log.level"`},
		{"wrong type", "name = \"a\"\nport = \"41641\"\n", File{}, "line 2: "},
		{"a list for a text", "name = [\"a\"]\n", File{}, "line 1: "},
		{"port too high", "port = 65536\n", File{}, "line 1: "},
		{"port negative", "port = -1\n", File{}, "line 1: "},
		{"no toml", "name: laptop\n", File{}, "line 1: "},
		{"text without end", "\n\nname = \"a\n", File{}, "line 3: "},
		{"twice", "port = 1\nport = 2\n", File{}, "line 2: "},
		{"not UTF-8", "name = \"\xff\"\n", File{}, "line 1: "},
		{"too long", "#" + strings.Repeat("x", maxConfigFile), File{}, "too long"},
	} {
		got, err := ParseFile([]byte(c.text))
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.err)
		}
	}
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "p2ptun.toml")
	if _, err := LoadFile(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file that was asked for: %v", err)
	}
	if err := os.WriteFile(path, []byte("\nbad = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadFile(path); err == nil || !strings.Contains(err.Error(), path+": line 2: ") {
		t.Errorf("a bad file: %v", err)
	}
	if err := os.WriteFile(path, []byte(wholeFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := LoadFile(path); err != nil || f.Port != 41641 {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := LoadFile("/dev/zero"); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a file without end: %v", err)
	}
	if _, err := LoadFile(dir); err == nil {
		t.Error("a directory was taken")
	}
	if _, err := os.Stat(DefaultFile); err != nil {
		if f, err := LoadFile(DefaultFile); err != nil || !reflect.DeepEqual(f, File{}) {
			t.Errorf("no default file: %+v, %v, want nothing", f, err)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(wholeFile))
	f.Add([]byte("port = \"x\""))
	f.Add([]byte("[a.b]\nc = [1, {d = 1979-05-27}]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseFile(b)
		if err != nil && (!reflect.DeepEqual(got, File{}) || err.Error() == "") {
			t.Errorf("%+v with error %v", got, err)
		}
	})
}
