package main

import (
	"flag"
	"io"
	"log/slog"
)

// logFlags choose what is logged and how.
type logFlags struct{ level, format string }

func (l *logFlags) add(fs *flag.FlagSet) {
	fs.StringVar(&l.level, "log-level", "info", "`LEVEL`: debug, info, warn or error")
	fs.StringVar(&l.format, "log-format", "text", "`FORMAT`: text or json")
}

// check says what is wrong with the choice.
func (l *logFlags) check() error {
	_, err := l.open(io.Discard)
	return err
}

// open returns the logger that writes to w.
func (l *logFlags) open(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, usagef("log level %q: want debug, info, warn or error", l.level)
	}
	options := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usagef("log format %q: want text or json", l.format)
}
