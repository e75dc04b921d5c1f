package main

import (
	"context"
	"errors"
	"fmt"
)

// tryRelay measures a relay alone, once: the server has a processor of
// its own.
func (r *report) tryRelay(ctx context.Context, c relayContender) (err error) {
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
	s.procs = []proc{server.proc}
	t := &trial{options: r.options, stage: s, name: c.name, results: r.relayResults}
	for _, l := range relayLoads {
		said, err := l.run(t, ctx, server)
		if err != nil {
			return fmt.Errorf("%s: %w", l.title, err)
		}
		fmt.Printf("  %-38s %s\n", l.title, said)
	}
	now, most, err := server.proc.memory()
	if err != nil {
		return err
	}
	t.add("rss", float64(now)/mebibyte)
	fmt.Printf("  %-38s %.1f MiB, %.1f at most\n", "memory", float64(now)/mebibyte, float64(most)/mebibyte)
	return nil
}
