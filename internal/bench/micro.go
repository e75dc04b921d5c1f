package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// microPackages hold what a packet passes through.
var microPackages = []string{"./internal/udpbatch", "./tun", "./tunnel", "./peer", "./signaling/hub"}

const (
	microTime = "200ms"                // how long each micro-benchmark runs
	microSkip = "^BenchmarkAddSource$" // once per address, not per packet
)

// micro is a micro-benchmark's result.
type micro struct {
	pkg, name string
	values    []string // "12.3 ns/op", "0 allocs/op"
}

// runMicro runs the micro-benchmarks of the packet path.
func runMicro(ctx context.Context) ([]micro, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-run", "^$", "-bench", ".", "-skip", microSkip, "-benchmem", "-benchtime", microTime}, microPackages...)...)
	cmd.Dir = strings.TrimSpace(string(root))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return parseMicro(string(out)), nil
}

// parseMicro reads what `go test -bench` prints.
func parseMicro(out string) (all []micro) {
	pkg := ""
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "pkg:":
			pkg = fields[1][strings.LastIndexByte(fields[1], '/')+1:]
		case len(fields) >= 4 && strings.HasPrefix(fields[0], "Benchmark"):
			name := strings.TrimPrefix(fields[0], "Benchmark")
			if i := strings.LastIndexByte(name, '-'); i > 0 {
				name = name[:i] // the number of processors
			}
			m := micro{pkg: pkg, name: name}
			for i := 2; i+1 < len(fields); i += 2 {
				m.values = append(m.values, fields[i]+" "+fields[i+1])
			}
			all = append(all, m)
		}
	}
	return all
}

// value returns the result in a unit, "–" if there is none.
func (m micro) value(unit string) string {
	for _, v := range m.values {
		if number, u, _ := strings.Cut(v, " "); u == unit {
			return number
		}
	}
	return "–"
}
