package behavior

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// ErrNoResponsePort says that a server cannot answer to another port than it was
// asked from, which the test of lifetimes needs (RFC 5780 section 7.5).
var ErrNoResponsePort = errors.New("the STUN server does not know RESPONSE-PORT")

// Ages are those at which [Lifetime] looks whether a mapping is still there: each a
// quarter longer than the one before or little more, as far as anybody keeps one.
// RFC 4787 REQ-5 asks for 2 minutes at least.
func Ages() []time.Duration {
	var ages []time.Duration
	for _, s := range []int{1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 75, 90, 105, 120, 150, 180, 240, 300} {
		ages = append(ages, time.Duration(s)*time.Second)
	}
	return ages
}

// Span is what [Lifetime] found: a mapping that nothing goes through lives longer
// than Alive and, unless that is zero, not as long as Dead.
type Span struct{ Alive, Dead time.Duration }

// Lifetime finds how long the NAT keeps a mapping that nothing is sent through (RFC
// 5780 section 4.6). Each age has a socket of its own, which is silent until then, so
// that all grow old at the same time; another socket then has the server answer to
// its mapping. It takes as long as the mapping lives, and that much more until the next
// age. progress is told of each age. Ages have to grow.
func Lifetime(ctx context.Context, cfg Config, server netip.AddrPort, ages []time.Duration, progress func(Span)) (Span, error) {
	cfg.setDefaults()
	l := &lifetime{server: server, room: newRoom(), open: func() (Socket, error) { return cfg.Open(server.Addr().Is4()) }}
	defer l.room.close()
	olds, err := l.begin(ctx, len(ages))
	if err != nil {
		return Span{}, err
	}
	began := time.Now()
	var s Span
	for i, age := range ages {
		timer := time.NewTimer(time.Until(began.Add(age)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return s, ctx.Err()
		}
		alive, err := l.alive(ctx, olds[i])
		switch {
		case err != nil:
			return s, err
		case !alive:
			s.Dead = age
			return s, nil
		}
		s.Alive = age
		progress(s)
	}
	return s, nil
}

// lifetime is the sockets of one test.
type lifetime struct {
	server netip.AddrPort
	room   *room
	open   func() (Socket, error)
	asking *client // has the server answer to the others
}

// old is a socket that waits, with its mapping.
type old struct {
	client *client
	mapped netip.AddrPort
}

var errSilent = errors.New("the STUN server does not answer")

// begin opens the sockets and makes their mappings, all at about the same time.
func (l *lifetime) begin(ctx context.Context, count int) ([]old, error) {
	olds := make([]old, count)
	for i := range count + 1 {
		s, err := l.open()
		if err != nil {
			return nil, err
		}
		if c := l.room.add(s); i < count {
			olds[i].client = c
		} else {
			l.asking = c
		}
	}
	var all sync.WaitGroup
	for i := range olds {
		all.Go(func() {
			if a, ok := olds[i].client.ask(question{to: l.server}).answer(ctx); ok {
				olds[i].mapped = a.mapped
			}
		})
	}
	all.Wait()
	for _, o := range olds {
		if !o.mapped.IsValid() {
			return nil, errSilent
		}
	}
	return olds, nil
}

// alive asks the server to answer to an old mapping. That the server itself can still
// be reached is asked as well: else silence would say nothing.
func (l *lifetime) alive(ctx context.Context, o old) (bool, error) {
	control := l.asking.ask(question{to: l.server})
	x := l.asking.ask(question{to: l.server, port: o.mapped.Port()})
	a, ok := x.await(ctx, func(a arrival) bool {
		return a.kind == refusal || a.kind == success && a.at == o.client
	})
	switch {
	case ok && a.kind == refusal:
		return false, ErrNoResponsePort
	case ok:
		control.forget()
		return true, nil
	}
	if _, ok := control.answer(ctx); !ok {
		return false, errors.Join(errSilent, ctx.Err())
	}
	return false, nil
}
