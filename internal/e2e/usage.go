package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
)

// Usage is what a process uses, in bytes. A hub tells its RSS alone.
type Usage struct{ Goroutines, Heap, RSS int }

// Usage reads what the node's process uses; the heap right after a garbage
// collection.
func (n *Node) Usage(ctx context.Context, pid int) (u Usage, err error) {
	for range 2 { // pools outlive one collection
		if u.Heap, err = n.number(ctx, "heap?gc=1&debug=1", "# HeapAlloc = %d"); err != nil {
			return u, err
		}
	}
	if u.Goroutines, err = n.number(ctx, "goroutine?debug=1", "goroutine profile: total %d"); err != nil {
		return u, err
	}
	u.RSS, err = Resident(pid)
	return u, err
}

// number reads one of a profile of the node's.
func (n *Node) number(ctx context.Context, profile, format string) (number int, err error) {
	b, err := n.Profile(ctx, profile)
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), format, &number); err == nil {
			return number, nil
		}
	}
	return 0, fmt.Errorf("no %q in the profile of %s", format, n.Name)
}

// Resident is a process's resident set in bytes.
func Resident(pid int) (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int
		if _, err := fmt.Sscanf(lines.Text(), "VmRSS: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("no VmRSS of process %d", pid)
}
