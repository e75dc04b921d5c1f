//go:build !linux

package tunnel

// machineMemory is not known here.
func machineMemory() uint64 { return 0 }
