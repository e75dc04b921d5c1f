//go:build !race

package peer

// underRace says whether the race detector slows everything down: then what takes
// long is done in part.
const underRace = false
