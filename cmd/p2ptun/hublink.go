package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling/hub"
)

// socket is where a running hub takes commands: it holds the state, so that
// nobody else can change it.
func (o *hubOptions) socket() string { return filepath.Join(o.State, "hub.sock") }

// runHubLink prints the link, and nothing else, on stdout.
func runHubLink(e env, o *hubOptions) error {
	if !o.rotate {
		link, err := hub.ReadLink(o.State)
		if err == nil {
			fmt.Fprintln(e.stdout, link.Token())
		}
		return err
	}
	link, err := hub.RotateLink(o.State)
	token := link.Token()
	if errors.Is(err, config.ErrInUse) {
		token, err = rotateRunning(e, o)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, token)
	fmt.Fprintln(e.stderr, "links printed before make no networks any more; networks that exist go on")
	return nil
}

func rotateRunning(e env, o *hubOptions) (token string, err error) {
	err = ask(e.ctx, o.socket(), "POST", "/link/rotate", nil, &token)
	if errors.Is(err, errNotRunning) {
		return "", config.WithHint(fmt.Errorf("the hub that runs on %s does not answer on %s", o.State, o.socket()), "stop the hub, rotate, and start it again")
	}
	return token, err
}

// startHubControl takes commands to the hub, and serves profiles, until stop, on a socket that only
// its owner may open. A hub that cannot have the socket serves without it.
func startHubControl(o *hubOptions, h *hub.Hub) (stop func()) {
	l, err := listenControl(o.socket())
	if err != nil {
		o.Log.Warn("`hub link --rotate` will work only while the hub is stopped", "err", err)
		return func() {}
	}
	mux := http.NewServeMux()
	handleProfiles(mux)
	mux.HandleFunc("POST /link/rotate", func(w http.ResponseWriter, _ *http.Request) {
		link, err := h.RotateLink()
		answer(w)(link.Token(), err)
	})
	s := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Serve(l)
	}()
	return func() {
		last, cancel := context.WithTimeout(context.Background(), lastAnswers)
		defer cancel()
		if s.Shutdown(last) != nil {
			s.Close()
		}
		<-ended
	}
}
