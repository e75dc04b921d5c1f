package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// profileTop is how many functions are shown, the dearest.
const profileTop = 12

// profiler gives a process's profile, as net/http/pprof names it.
type profiler func(ctx context.Context, name string) ([]byte, error)

// profile is what a process spent its time on under one load.
type profile struct{ contender, process, text string }

// profileStep notes what the processes spend their time on, under one TCP
// stream.
func profileStep(t *trial, ctx context.Context) (string, error) {
	if !t.last || len(t.profilers) == 0 {
		return "of p2ptun, in the last round", nil
	}
	b, err := startBulk(ctx, t.a, t.b, t.addr[1], 1)
	if err != nil {
		return "", err
	}
	defer b.stop()
	if err := pause(ctx, t.warmUp); err != nil {
		return "", err
	}
	t.profiles = append(t.profiles, t.takeProfiles(ctx, t.profilers)...)
	return fmt.Sprintf("%d taken", len(t.profilers)), nil
}

// takeProfiles profiles all processes at the same time.
func (t *trial) takeProfiles(ctx context.Context, from map[string]profiler) (all []profile) {
	results := make(chan profile)
	for name, p := range from {
		go func() {
			text, err := top(ctx, filepath.Join(t.dir, name+".pprof"), t.profile, p)
			if err != nil {
				text = "no profile: " + err.Error()
			}
			results <- profile{t.name, name, text}
		}()
	}
	for range from {
		all = append(all, <-results)
	}
	return all
}

// top takes a profile, kept in a file, and says which functions are dearest.
func top(ctx context.Context, path string, seconds int, p profiler) (string, error) {
	b, err := p(ctx, fmt.Sprintf("profile?seconds=%d", seconds))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount", fmt.Sprint(profileTop), path).Output()
	if err != nil {
		return "", fmt.Errorf("go tool pprof: %w", err)
	}
	_, table, found := strings.Cut(string(out), "Showing nodes")
	if !found {
		return "", fmt.Errorf("go tool pprof said %q", out)
	}
	_, table, _ = strings.Cut(table, "\n")
	return strings.TrimRight(table, "\n"), nil
}
