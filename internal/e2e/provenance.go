package e2e

import (
	"os/exec"
	"strings"
	"time"
)

// Provenance is what a report says of its origin: the time, what is checked out now,
// and whether that has been changed. To be asked before the report's runs.
func Provenance() string {
	commit := "unknown"
	if out, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude", "*", "--abbrev=12").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	return time.Now().UTC().Format("2006-01-02 15:04 UTC") + ", commit " + commit
}
