package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// trial is a contender's turn in a round.
type trial struct {
	*options
	*stage
	name    string
	last    bool // of the rounds
	results results

	profiles []profile
}

func (t *trial) add(quantity string, value float64) { t.results.add(t.name, quantity, value) }

// step is a part of a turn.
type step struct {
	name string
	run  func(t *trial, ctx context.Context) (said string, err error)
}

var steps = []step{
	{"memory, idle", memoryStep("rss idle", false)},
	{"ping, idle", pingStep("ping", false)},
	{"TCP, 1 stream, a to b", tcpStep("tcp1", 1, true, false)},
	{"TCP, 1 stream, b to a", tcpStep("tcp1 back", 1, false, true)},
	{"TCP, 8 streams, a to b", tcpStep("tcp8", 8, true, false)},
	{"TCP, 8 streams, b to a", tcpStep("tcp8 back", 8, false, true)},
	{"TCP, 1 stream each way at once", tcpStep("tcp both", 1, true, true)},
	{"memory, highest under TCP", memoryStep("rss tcp", true)},
	{"ping beside 1 TCP stream", pingStep("ping loaded", true)},
	{"ping and 10 Mbit/s to c", fairStep("fair", false)},
	{"the same beside TCP to b", fairStep("fair loaded", true)},
	{"UDP, 1,280 bytes", udpStep("udp1280", 1280)},
	{"UDP, 64 bytes", udpStep("udp64", 64)},
	{"memory, highest under UDP", memoryStep("rss udp", true)},
	{"memory after a rest", restStep},
	{"profiles beside 1 TCP stream", profileStep},
}

// tcpStep measures streams in one direction or both at once.
func tcpStep(quantity string, streams int, forth, back bool) func(*trial, context.Context) (string, error) {
	return func(t *trial, ctx context.Context) (string, error) {
		var loads []*bulk
		defer func() {
			for _, b := range loads {
				b.stop()
			}
		}()
		if forth {
			b, err := startBulk(ctx, t.a, t.b, t.addr[1], streams)
			if err != nil {
				return "", err
			}
			loads = append(loads, b)
		}
		if back {
			b, err := startBulk(ctx, t.b, t.a, t.addr[0], streams)
			if err != nil {
				return "", err
			}
			loads = append(loads, b)
		}
		w, err := t.window(ctx, func() (bytes int64) {
			for _, b := range loads {
				bytes += b.received.Load()
			}
			return bytes
		})
		if err != nil {
			return "", err
		}
		return w.store(t, quantity), nil
	}
}

// window is what happened while a load was counted.
type window struct {
	bytes int64
	took  time.Duration
	cpu   []time.Duration // of t.procs
	load  time.Duration   // CPU time of this process
}

// window waits for the warm-up, then counts.
func (t *trial) window(ctx context.Context, received func() int64) (*window, error) {
	if err := pause(ctx, t.warmUp); err != nil {
		return nil, err
	}
	before, err := t.cpus()
	if err != nil {
		return nil, err
	}
	own, err := self().cpu()
	if err != nil {
		return nil, err
	}
	start, bytes := time.Now(), received()
	if err := pause(ctx, t.seconds); err != nil {
		return nil, err
	}
	w := &window{bytes: received() - bytes, took: time.Since(start)}
	if w.cpu, err = t.cpus(); err != nil {
		return nil, err
	}
	for i := range w.cpu {
		w.cpu[i] -= before[i]
	}
	now, err := self().cpu()
	if err != nil {
		return nil, err
	}
	w.load = now - own
	if w.bytes == 0 {
		return nil, fmt.Errorf("nothing arrived in %v", w.took)
	}
	return w, nil
}

// store keeps the rate and the CPU time per gigabyte, of all processes and of
// each, and says them.
func (w *window) store(t *trial, quantity string) string {
	gigabytes := float64(w.bytes) / 1e9
	rate := gigabytes * 8 / w.took.Seconds()
	t.add(quantity, rate)
	all, said := 0.0, ""
	for i, p := range t.procs {
		cost := w.cpu[i].Seconds() / gigabytes
		all += cost
		t.add(quantity+" cpu "+p.name, cost)
		said += fmt.Sprintf(" %s %.2f", p.name, cost)
	}
	t.add(quantity+" cpu", all)
	t.add(quantity+" busy", all*gigabytes/w.took.Seconds())
	t.add(quantity+" load busy", w.load.Seconds()/w.took.Seconds())
	return fmt.Sprintf("%.2f Gbit/s, %.2f CPU s/GB:%s", rate, all, said)
}

// self is this process, the load.
func self() proc { return proc{"load", os.Getpid()} }

func (t *trial) cpus() (all []time.Duration, err error) {
	for _, p := range t.procs {
		d, err := p.cpu()
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// pause waits, unless the context ends first.
func pause(ctx context.Context, seconds float64) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(seconds * float64(time.Second))):
		return nil
	}
}
