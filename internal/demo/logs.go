package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"time"
)

// readEvery is how often a log file is looked at.
const readEvery = 20 * time.Millisecond

// follow hands on each line that is written to a file, until ctx ends and all
// is read. The file may not exist yet.
func follow(ctx context.Context, path string, each func(line string)) {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	var file *os.File
	var begun []byte // of a line that is not complete
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		if file == nil {
			var err error
			if file, err = os.Open(path); err != nil {
				continue
			}
			defer file.Close()
		}
		more, _ := io.ReadAll(file) // what cannot be read now is tried again
		begun = append(begun, more...)
		for {
			line, rest, complete := bytes.Cut(begun, []byte{'\n'})
			if !complete {
				break
			}
			each(string(line))
			begun = rest
		}
	}
}

// record is a line of a log in JSON: the fields that this demo looks at.
type record struct {
	Time  time.Time
	Level slog.Level
	Msg   string

	Name  string // of a node, as the hub or an admin says
	Peer  string
	Path  string
	Type  string
	Local string
	Err   string

	Remote string
	RTT    time.Duration
}

// parseRecord says whether a line is a record. If not, it is for the user.
func parseRecord(line string) (r record, ok bool) {
	err := json.Unmarshal([]byte(line), &r)
	return r, err == nil && !r.Time.IsZero()
}

// The records that are told.
const (
	msgCandidate = "candidate"
	msgPath      = "path"
	msgNominated = "pair nominated"
	msgJoined    = "joined"
)

// text is what to tell of the record; "" if nothing. The level says what else
// is worth it.
func (r *record) text() string {
	switch {
	case r.Msg == msgCandidate:
		return fmt.Sprintf("candidate: %-5s %s", r.Type, r.Local)
	case r.Msg == msgPath:
		return fmt.Sprintf("path to %s: %s, %s → %s (%s), %.1f ms", r.Peer, r.Path, r.Local, r.Remote, r.Type, float64(r.RTT)/1e6)
	case r.Msg == msgNominated:
		return fmt.Sprintf("nominated with %s: %s, %s → %s (%s)", r.Peer, r.Path, r.Local, r.Remote, r.Type)
	case r.Msg == msgJoined:
		return r.Name + " is a member now"
	case r.Level >= slog.LevelWarn:
		text := fmt.Sprintf("%v: %s", r.Level, r.Msg)
		if r.Err != "" {
			text += ": " + r.Err
		}
		return text
	}
	return ""
}

var secret = regexp.MustCompile(`(p2ptun-(?:hub|invite)-.{4})[\w-]+`)

// shorten cuts hub links and invites short.
func shorten(text string) string { return secret.ReplaceAllString(text, "$1…") }
