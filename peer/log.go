package peer

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// pionLog makes pion's libraries write to a slog.Logger, all at debug level:
// what they call a warning (a late packet, a stranger's check) is everyday
// life here. Their own debug output is dropped: the agent's names passwords.
type pionLog struct{ log *slog.Logger }

func (l pionLog) NewLogger(scope string) logging.LeveledLogger {
	return pionScope{l.log.With("scope", scope)}
}

type pionScope struct{ log *slog.Logger }

func (s pionScope) write(format string, args ...any) {
	if !s.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	s.log.Debug(format)
}

func (s pionScope) Trace(string)                      {}
func (s pionScope) Tracef(string, ...any)             {}
func (s pionScope) Debug(string)                      {}
func (s pionScope) Debugf(string, ...any)             {}
func (s pionScope) Info(msg string)                   { s.write(msg) }
func (s pionScope) Infof(format string, args ...any)  { s.write(format, args...) }
func (s pionScope) Warn(msg string)                   { s.write(msg) }
func (s pionScope) Warnf(format string, args ...any)  { s.write(format, args...) }
func (s pionScope) Error(msg string)                  { s.write(msg) }
func (s pionScope) Errorf(format string, args ...any) { s.write(format, args...) }
