package hub

import (
	"time"

	"github.com/p2ptun/p2ptun/signaling"
)

// Two machines with one node key, because a disk was cloned or a backup
// restored beside the original, take each other's seat for ever: their epochs
// alternate. A machine that only starts over and over has a new epoch each
// time, one whose connection breaks has the same.
const (
	copyTurns  = 3 // returns to an epoch that another had replaced
	copyWithin = time.Minute
	maxArrived = 16 // arrivals of one node that are looked at
)

// arrivals are the latest of one node, oldest first.
type arrivals []arrival

type arrival struct {
	epoch signaling.Epoch
	at    time.Time
}

// add returns the arrivals with one more, without those that are too old.
func (a arrivals) add(epoch signaling.Epoch, now time.Time) arrivals {
	a = append(a, arrival{epoch, now})
	for len(a) > maxArrived || now.Sub(a[0].at) > copyWithin {
		a = a[1:]
	}
	return a
}

// ofCopies says whether they are of two machines.
func (a arrivals) ofCopies() bool {
	turns := 0
	seen := make(map[signaling.Epoch]bool)
	for i, one := range a {
		if i > 0 && one.epoch != a[i-1].epoch && seen[one.epoch] {
			turns++
		}
		seen[one.epoch] = true
	}
	return turns >= copyTurns
}
