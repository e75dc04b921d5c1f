package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/p2ptun/p2ptun/"

// The one direction of imports: cmd → tunnel → peer → signaling → config, with
// tun a leaf beside them. Each package may import what stands after it here.
var mayImport = map[string][]string{
	"cmd/p2ptun":           {"tunnel", "peer", "peer/behavior", "signaling/hub", "signaling", "tun", "config", "internal/procs", "internal/nat64"},
	"tunnel":               {"peer", "peer/behavior", "signaling", "tun", "config", "internal/udpbatch", "internal/nat64"},
	"peer":                 {"peer/behavior", "signaling", "config", "internal/framed"},
	"peer/behavior":        {"internal/framed"},
	"signaling/hub":        {"signaling", "config", "internal/udpbatch", "internal/framed"},
	"signaling":            {"config"},
	"tun":                  {"config"},
	"config":               {},
	"internal/natlab":      {},
	"internal/e2e":         {"tunnel", "peer", "peer/behavior", "signaling", "config", "internal/natlab"},
	"internal/demo":        {"tunnel", "peer", "internal/natlab", "internal/e2e"},
	"internal/bench":       {"tunnel", "peer", "config", "internal/natlab", "internal/e2e"},
	"internal/check":       {},
	"internal/chaos":       {"tunnel", "peer", "internal/natlab", "internal/e2e", "internal/chaos/first"},
	"internal/reach":       {"peer", "internal/natlab", "internal/e2e"},
	"internal/chaos/first": {"tunnel", "peer", "internal/natlab", "internal/e2e"},

	// What the packet path stands on: system calls, and no package of ours.
	"internal/udpbatch": {},
	"internal/framed":   {},
	"internal/procs":    {},
	"internal/nat64":    {},
}

// And what some may never import, of others: the layers that they know
// nothing of.
var mayNotImport = map[string][]string{
	"config":        {"github.com/pion/", "github.com/gorilla/", "github.com/vishvananda/", "golang.zx2c4.com/"},
	"signaling":     {"github.com/pion/", "github.com/vishvananda/", "golang.zx2c4.com/wireguard/device", "golang.zx2c4.com/wireguard/conn"},
	"signaling/hub": {"github.com/pion/ice", "github.com/vishvananda/", "golang.zx2c4.com/"},
	"peer":          {"github.com/gorilla/", "github.com/vishvananda/", "golang.zx2c4.com/"},
	"tun":           {"github.com/pion/", "github.com/gorilla/", "golang.zx2c4.com/wireguard/device", "golang.zx2c4.com/wireguard/conn"},
	"tunnel":        {"github.com/pion/", "github.com/gorilla/", "github.com/vishvananda/"},
}

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], module)
		allowed, known := mayImport[pkg]
		if !known {
			t.Errorf("package %s has no place in the order of imports", pkg)
		}
		seen++
		for _, imp := range fields[1:] {
			if own, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s", pkg, own)
			}
			for _, bad := range mayNotImport[pkg] {
				if strings.HasPrefix(imp, bad) {
					t.Errorf("%s imports %s", pkg, imp)
				}
			}
		}
	}
	if seen < len(mayImport)-1 {
		t.Errorf("saw %d packages, want the %d of the order", seen, len(mayImport))
	}
}

func TestFuzzTargets(t *testing.T) {
	got := fuzzTargets("FuzzA\nFuzzB\nok  \texample/a\t0.1s\nok  \texample/b\t0.1s\nFuzzC\nok  \texample/c\t0.1s\n?   \texample/d\t[no test files]\n")
	want := []fuzzTarget{{"example/a", "FuzzA"}, {"example/a", "FuzzB"}, {"example/c", "FuzzC"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
