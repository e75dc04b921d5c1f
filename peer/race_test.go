//go:build race

package peer

import (
	"os"
	"runtime"
	"testing"
)

// TestMain runs on one processor: under the race detector, timers that two
// processors run in one bubble share a context of the detector's, which then
// crashes now and then (golang/go issue 78156). What the detector finds does
// not depend on how many processors there are.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}

const underRace = true
