package tun

// hintError is an error together with what its reader can do about it.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// Hint returns one line of advice, without a full stop, for a person.
func (e *hintError) Hint() string { return e.hint }
