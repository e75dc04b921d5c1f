package natlab

import (
	"fmt"
	"time"
)

// Link says what a cable does to packets, each way alike. The zero value is an
// ideal link, which costs nothing; any other is emulated in this process,
// packet by packet, good for some hundred thousand packets per second. What is
// emulated can be changed while packets are on their way, see [Host.SetLink].
type Link struct {
	Delay  time.Duration // one way
	Jitter time.Duration // each packet's delay differs by up to this much, order kept

	// Loss, Duplicate and Reorder are fractions of the packets, 0 to 1.
	// A reordered packet skips the delay and so overtakes those before it.
	Loss, Duplicate, Reorder float64

	Rate int // bit/s on the wire, frame headers included; zero is unlimited

	// Buffer is how long a packet may wait for its turn on a link with a
	// rate before it is dropped. Zero means DefaultBuffer.
	Buffer time.Duration

	MTU int // bytes of IP packet; zero means 1500

	// Swallow is the length in bytes of IP packet above which all but TCP
	// vanishes though it is within the MTU, and nobody is told: a black hole
	// behind a router that bends TCP's MSS to it. Zero means none.
	Swallow int

	// Lose, if not nil, says of each IP packet whether it vanishes: a router that
	// lets some kinds of traffic pass and not others. Both directions call it, at
	// once if they like.
	Lose func(packet []byte) bool

	// Seed makes losses and jitter repeatable. Zero is a seed like any other.
	Seed uint64
}

// DefaultBuffer is the buffer of a link with a rate, in time.
const DefaultBuffer = 100 * time.Millisecond

const (
	defaultMTU = 1500
	minMTU     = 68    // RFC 791
	maxMTU     = 65535 // the largest IP packet
)

// ideal reports whether the kernel alone can be the link.
func (k Link) ideal() bool {
	return k.Delay == 0 && k.Jitter == 0 && k.Loss == 0 && k.Duplicate == 0 && k.Reorder == 0 && k.Rate == 0 && k.Swallow == 0 && k.Lose == nil
}

func (k Link) mtu() int {
	if k.MTU == 0 {
		return defaultMTU
	}
	return k.MTU
}

func (k Link) buffer() time.Duration {
	if k.Buffer == 0 {
		return DefaultBuffer
	}
	return k.Buffer
}

func (k Link) validate() error {
	for _, f := range []float64{k.Loss, k.Duplicate, k.Reorder} {
		if !(f >= 0 && f <= 1) { // NaN fails too
			return fmt.Errorf("natlab: link: fraction %v is not between 0 and 1", f)
		}
	}
	if k.Delay < 0 || k.Jitter < 0 || k.Rate < 0 || k.Buffer < 0 || k.Swallow < 0 {
		return fmt.Errorf("natlab: link: negative value in %+v", k)
	}
	if mtu := k.mtu(); mtu < minMTU || mtu > maxMTU {
		return fmt.Errorf("natlab: link: MTU %d is not between %d and %d", mtu, minMTU, maxMTU)
	}
	return nil
}
