package main

import (
	"context"
	"errors"
	"fmt"
)

// tryRelay measures a relay alone, once: the server has a processor of its own.
func (r *report) tryRelay(ctx context.Context, c relayContender, last bool) (err error) {
	s, err := newStage(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	var server *relayServer
	release, err := alone(func() (int, error) {
		server, err = c.start(ctx, s)
		if err != nil {
			return 0, err
		}
		return server.proc.pid, nil
	})
	if release != nil {
		defer func() { err = errors.Join(err, release()) }()
	}
	if err != nil {
		return err
	}
	t := &trial{options: r.options, stage: s, name: c.name, last: last, results: r.relayResults}
	for _, l := range relayLoads {
		said, err := l.run(t, ctx, server)
		if err != nil {
			return fmt.Errorf("%s: %w", l.title, err)
		}
		fmt.Printf("  %-38s %s\n", l.title, said)
	}
	now, _, err := server.proc.memory()
	if err != nil {
		return err
	}
	t.add("rss", float64(now)/megabyte)
	fmt.Printf("  %-38s %.1f MB\n", "memory", float64(now)/megabyte)
	if server.profile != nil && last {
		r.profiles = append(r.profiles, profileRelay(t, ctx, server)...)
	}
	return nil
}

// profileRelay profiles a server under the first load. What comes of the load
// is not of interest.
func profileRelay(t *trial, ctx context.Context, server *relayServer) (all []profile) {
	done := make(chan []profile, 1)
	go func() {
		done <- t.takeProfiles(ctx, map[string]profiler{"the hub": server.profile})
	}()
	longer := *t.options
	longer.seconds, longer.warmUp = float64(t.profile), 1
	relayLoads[0].run(&trial{options: &longer, stage: t.stage, results: make(results)}, ctx, server)
	return <-done
}
