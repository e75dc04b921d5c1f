package main

import (
	"context"
	"strings"
	"sync"

	"github.com/p2ptun/p2ptun/internal/e2e"
)

// story is one run of the demo, act by act.
type story struct {
	rig   *e2e.Rig
	out   *timeline
	seen  *sightings
	hub   *e2e.Hub
	nodes []*e2e.Node

	invite string // of the first node's `up`
}

func newStory(rig *e2e.Rig, out *timeline) *story {
	s := &story{rig: rig, out: out, seen: newSightings()}
	rig.Output = s.hear
	return s
}

// play tells all of it. The nodes' logs are told beside it.
func (s *story) play(ctx context.Context, h *hosts) error {
	var followers sync.WaitGroup
	defer followers.Wait()
	following, end := context.WithCancel(context.Background())
	defer end()
	for _, host := range h.nodes {
		n := s.rig.Node(host)
		s.nodes = append(s.nodes, n)
		followers.Go(func() { follow(following, n.LogPath(), func(line string) { s.hear(n.Name, line) }) })
	}
	s.out.say("hub$", "p2ptun hub --print-link")
	var err error
	if s.hub, err = s.rig.StartHub(ctx, h.hub, "--log-format", "json"); err != nil {
		return err
	}
	for _, act := range []func(context.Context) error{
		s.firstNode, s.secondNode, s.thirdNode, s.pings, s.copies, s.nominations, s.status, s.down,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

// hear tells a line that a process has printed or logged, if it is worth it.
func (s *story) hear(who, line string) {
	r, ok := parseRecord(line)
	if !ok {
		s.out.say(who, "%s", line)
		return
	}
	text := r.text()
	if text == "" || r.Msg == msgCandidate && !s.seen.add(sighting{who, r.Msg, r.Local}) {
		return // candidates are logged for each session
	}
	s.out.add(r.Time, who, text)
	s.seen.add(sighting{who, r.Msg, r.Type})
	s.seen.add(sighting{who, r.Msg, r.Peer})
}

// up runs `p2ptun up` and returns the invite that it prints, if any.
func (s *story) up(ctx context.Context, n *e2e.Node, args ...string) (string, error) {
	s.typed(n, append([]string{"up"}, args...))
	invite, err := n.Up(ctx, append(args, "--log-format", "json")...)
	s.answer(n, invite)
	return invite, err
}

// run runs any other command and returns what it prints.
func (s *story) run(ctx context.Context, n *e2e.Node, args ...string) (string, error) {
	s.typed(n, args)
	out, err := n.Run(ctx, args...)
	s.answer(n, out)
	return out, err
}

func (s *story) typed(n *e2e.Node, args []string) {
	s.out.say(n.Name+"$", "p2ptun %s", strings.Join(args, " "))
}

func (s *story) answer(n *e2e.Node, out string) {
	if out != "" {
		s.out.say(n.Name, "%s", out)
	}
}
