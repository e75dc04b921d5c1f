package config

import "errors"

// HintError is an error together with what the user can do about it.
type HintError struct {
	Err  error
	What string
}

func (e *HintError) Error() string { return e.Err.Error() }
func (e *HintError) Unwrap() error { return e.Err }

// Hint is what to do.
func (e *HintError) Hint() string { return e.What }

// WithHint adds to err what the user can do about it.
func WithHint(err error, hint string) error { return &HintError{Err: err, What: hint} }

// HintOf returns the hint that err or an error it wraps carries, or "".
func HintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
