package natlab

import (
	"math"
	"testing"
	"time"
)

var epoch = time.Unix(1e9, 0)

func TestValidateLink(t *testing.T) {
	for _, tt := range []struct {
		name string
		link Link
		ok   bool
	}{
		{"zero", Link{}, true},
		{"all", Link{Delay: 1, Jitter: 1, Loss: 1, Duplicate: 1, Reorder: 1, Rate: 1, Buffer: 1, MTU: 1280}, true},
		{"negative delay", Link{Delay: -1}, false},
		{"negative rate", Link{Rate: -1}, false},
		{"negative swallow", Link{Swallow: -1}, false},
		{"loss above 1", Link{Loss: 1.1}, false},
		{"reorder below 0", Link{Reorder: -0.1}, false},
		{"loss NaN", Link{Loss: math.NaN()}, false},
		{"small MTU", Link{MTU: 67}, false},
		{"large MTU", Link{MTU: 65536}, false},
	} {
		if err := tt.link.validate(); (err == nil) != tt.ok {
			t.Errorf("%s: %v, want valid: %v", tt.name, err, tt.ok)
		}
	}
}

// arrival is the fate of one packet.
type arrival struct {
	after  time.Duration // since epoch
	copies int
}

// offer admits packets of a size, one every gap, and returns their fates.
func offer(k Link, count, size int, gap time.Duration) []arrival {
	s := newShaper(k, 0)
	var all []arrival
	for i := range count {
		due, copies := s.admit(epoch.Add(time.Duration(i)*gap), size)
		all = append(all, arrival{due.Sub(epoch), copies})
	}
	return all
}

func TestShapeDelay(t *testing.T) {
	for i, a := range offer(Link{Delay: 20 * time.Millisecond}, 3, 1000, time.Millisecond) {
		want := arrival{time.Duration(20+i) * time.Millisecond, 1}
		if a != want {
			t.Errorf("packet %d: %v, want %v", i, a, want)
		}
	}
}

// At 8 Mbit/s a packet of 1000 bytes takes 1 ms; the buffer holds 5 of them
// besides the one that is being sent.
func TestShapeRate(t *testing.T) {
	got := offer(Link{Rate: 8e6, Buffer: 5 * time.Millisecond}, 8, 1000, 0)
	for i, a := range got {
		want := arrival{time.Duration(i+1) * time.Millisecond, 1}
		if i >= 6 {
			want = arrival{time.Time{}.Sub(epoch), 0}
		}
		if a != want {
			t.Errorf("packet %d: %v, want %v", i, a, want)
		}
	}
}

func TestShapeJitter(t *testing.T) {
	const delay, jitter = 20 * time.Millisecond, 5 * time.Millisecond
	var last, least, most time.Duration = 0, math.MaxInt64, 0
	for i, a := range offer(Link{Delay: delay, Jitter: jitter}, 1000, 100, 20*time.Millisecond) {
		d := a.after - time.Duration(i)*20*time.Millisecond
		least, most = min(least, d), max(most, d)
		if a.after < last {
			t.Fatalf("packet %d overtakes", i)
		}
		last = a.after
	}
	if least < delay-jitter || least > delay-jitter/2 || most > delay+jitter || most < delay+jitter/2 {
		t.Errorf("delays from %v to %v, want nearly %v ± %v", least, most, delay, jitter)
	}
}

func TestShapeChances(t *testing.T) {
	const count = 10000
	k := Link{Delay: time.Second, Loss: 0.2, Duplicate: 0.1, Reorder: 0.05, Seed: 7}
	var lost, doubled, early float64
	for _, a := range offer(k, count, 100, 0) {
		switch {
		case a.copies == 0:
			lost++
			continue
		case a.copies == 2:
			doubled++
		}
		if a.after < time.Second {
			early++
		}
	}
	arrived := count - lost
	for _, tt := range []struct {
		name      string
		got, want float64
	}{{"lost", lost / count, k.Loss}, {"doubled", doubled / arrived, k.Duplicate}, {"early", early / arrived, k.Reorder}} {
		if math.Abs(tt.got-tt.want) > 0.02 {
			t.Errorf("%s: %.3f, want about %.3f", tt.name, tt.got, tt.want)
		}
	}
}

func TestParse(t *testing.T) {
	for name, want := range map[string]Behavior{
		"full": Full, "address": AddressRestricted, "port": PortRestricted,
		"symmetric": Symmetric, "symmetric-sequential": SymmetricSequential,
	} {
		if got, err := Parse(name); got != want || err != nil {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", name, got, err, want)
		}
	}
	if _, err := Parse("cone"); err == nil {
		t.Error("Parse(cone): no error")
	}
}
