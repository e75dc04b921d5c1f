package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A profile lasts profileSeconds under load; its profileTop dearest functions
// are shown.
const (
	profileSeconds = 3
	profileTop     = 12
)

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
	t.profiles = append(t.profiles, takeProfiles(ctx, t.name, t.dir, t.profilers)...)
	return fmt.Sprintf("%d taken", len(t.profilers)), nil
}

// takeProfiles profiles all processes at the same time.
func takeProfiles(ctx context.Context, contender, dir string, from map[string]profiler) (all []profile) {
	results := make(chan profile)
	for name, p := range from {
		go func() {
			text, err := top(ctx, filepath.Join(dir, name+".pprof"), p)
			if err != nil {
				text = "no profile: " + err.Error()
			}
			results <- profile{contender, name, text}
		}()
	}
	for range from {
		all = append(all, <-results)
	}
	return all
}

// top takes a profile, kept in a file, and says which functions are dearest.
func top(ctx context.Context, path string, p profiler) (string, error) {
	b, err := p(ctx, fmt.Sprintf("profile?seconds=%d", profileSeconds))
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
