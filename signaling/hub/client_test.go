package hub

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// startClient runs the nodes' own client; what it takes comes on the channel.
func startClient(t *testing.T, link config.HubLink, m *member) (*signaling.Client, <-chan signaling.Message) {
	t.Helper()
	frames := make(chan signaling.Message, 100)
	var since uint64
	c := signaling.NewClient(signaling.ClientConfig{
		Hub: link.Hub, Network: m.network.Public(),
		Self: &signaling.Self{Network: m.network.Public().ID(), Node: m.key, Epoch: m.epoch},
		Credential: func() signaling.Credential {
			return signaling.Credential{Proof: [][]byte{m.record.Bytes()}, Access: link.Access[:], Since: since}
		},
		Handle: func(f signaling.Message) {
			if m, ok := f.(*signaling.Members); ok {
				since = m.Sequence
			}
			frames <- f
		},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("client: %v", err)
		}
	})
	return c, frames
}

// await skips frames up to one of the type.
func await[T signaling.Message](t *testing.T, frames <-chan signaling.Message) T {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case f := <-frames:
			if m, ok := f.(T); ok {
				return m
			}
		case <-timeout:
			t.Fatalf("no %T came", *new(T))
		}
	}
}

// The client and the hub of this module agree, also about what comes after a
// restart of the hub.
func TestWithClient(t *testing.T) {
	dir := t.TempDir()
	h := startHub(t, Config{State: dir})
	network := config.NewNetworkKey()
	a, b := newMember(t, network, 1), newMember(t, network, 2)
	ca, fa := startClient(t, h.Link(), a)
	if m := await[*signaling.Members](t, fa); len(m.Statements) != 1 {
		t.Fatalf("%d records, want its own", len(m.Statements))
	}
	await[*signaling.Credentials](t, fa)
	_, fb := startClient(t, h.Link(), b)
	await[*signaling.Credentials](t, fb)
	await[*signaling.Members](t, fa)
	if p := await[*signaling.Presence](t, fa); len(p.Online) != 1 || p.Online[0].Node != b.node() {
		t.Fatalf("got %+v, want b online", p)
	}
	exchange := func() {
		t.Helper()
		if !ca.Send(&signaling.Signal{To: b.node(), Sealed: []byte("sealed")}) {
			t.Fatal("not sent")
		}
		if s := await[*signaling.Signal](t, fb); string(s.Sealed) != "sealed" || s.From != a.node() {
			t.Fatalf("got %+v", s)
		}
	}
	exchange()

	listen := h.Addr().String()
	h.stop()
	await[*signaling.Down](t, fa)
	await[*signaling.Down](t, fb)
	startHub(t, Config{State: dir, Listen: listen})
	for _, f := range []<-chan signaling.Message{fa, fb} {
		await[*signaling.Welcome](t, f)
		if m := await[*signaling.Members](t, f); len(m.Statements) != 0 || m.Sequence != 2 {
			t.Errorf("after the restart %d records up to %d, want none up to 2", len(m.Statements), m.Sequence)
		}
		await[*signaling.Credentials](t, f)
	}
	exchange()
}

// Two machines that run on copies of one state find it out by the clients' own
// attempts to come back.
func TestCopiedMachineWithClients(t *testing.T) {
	h := startHub(t, Config{})
	original := newMember(t, config.NewNetworkKey(), 1)
	copied := *original
	copied.epoch++
	_, fo := startClient(t, h.Link(), original)
	await[*signaling.Credentials](t, fo)
	_, fc := startClient(t, h.Link(), &copied)
	for _, frames := range []<-chan signaling.Message{fo, fc} {
		for {
			down := await[*signaling.Down](t, frames)
			var e *signaling.Error
			if !errors.As(down.Err, &e) {
				t.Fatalf("the connection ended: %v; want the hub's reason", down.Err)
			}
			if e.Code == signaling.CodeCopied {
				break
			}
			if e.Code != signaling.CodeReplaced {
				t.Fatalf("got %v", e)
			}
		}
	}
}
