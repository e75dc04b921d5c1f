package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What a node may have more at the end of a soak than after its warm-up.
const (
	soakGoroutines = 20       // sessions that are being made anew
	soakHeap       = 8 << 20  // bytes, right after a garbage collection
	soakRSS        = 32 << 20 // the garbage collector has its own pace
)

// verdict is what went wrong; nil if nothing did.
func (s *soak) verdict() error {
	var errs []error
	for _, text := range s.stuck {
		errs = append(errs, errors.New("stuck "+text))
	}
	for i, p := range s.places {
		b, a := s.before[i], s.after[i]
		if a.Goroutines > b.Goroutines+soakGoroutines || a.Heap > b.Heap+soakHeap || a.RSS > b.RSS+soakRSS {
			errs = append(errs, fmt.Errorf("%s has grown from %+v to %+v", p.node.Name, b, a))
		}
	}
	return errors.Join(errs...)
}

// write prints what was found, and puts it into the document if there is one.
func (s *soak) write(o *options, idle float64) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "## Soak\n\nWritten by `sudo make soak`. %d nodes (%s) for %v, %d flows, a fault of the table each %v that is undone after at most %v, and then every pair has to carry again within %v.\n\n",
		len(s.places), strings.Join(s.names(), ", "), o.soak, len(s.flows), strikeEvery, strikeFor, carryWithin)
	fmt.Fprintf(&b, "%s, -seed %d; %.0f %% of the machine was idle.\n\n| | |\n|---|---|\n", o.stamp, s.seed, 100*idle)
	fmt.Fprintf(&b, "| faults | %d |\n| after which a pair was stuck | %d |\n", s.faults, len(s.stuck))
	if len(s.returns) > 0 {
		slices.Sort(s.returns)
		fmt.Fprintf(&b, "| all pairs carry again, s after the undoing (0.5 at least) | median %s, worst %s |\n", short(s.returns[len(s.returns)/2]), short(s.returns[len(s.returns)-1]))
	}
	b.WriteString("\n| node | goroutines | heap, MiB | RSS, MiB |\n|---|---|---|---|\n")
	for i, p := range s.places {
		before, after := s.before[i], s.after[i]
		fmt.Fprintf(&b, "| %s | %d → %d | %.1f → %.1f | %.1f → %.1f |\n", p.node.Name, before.Goroutines, after.Goroutines,
			mib(before.Heap), mib(after.Heap), mib(before.RSS), mib(after.RSS))
	}
	for _, text := range s.stuck {
		fmt.Fprintf(&b, "\n**✗** stuck %s\n", text)
	}
	fmt.Print("\n", b.String())
	if o.out == "" {
		return nil
	}
	return replaceSection(o.out, b.String())
}

func (s *soak) names() (all []string) {
	for _, p := range s.places {
		all = append(all, p.node.Name)
	}
	return all
}

func mib(bytes int) float64 { return float64(bytes) / (1 << 20) }
