package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSecretArg bounds what is read where a token is expected, in bytes.
const maxSecretArg = 64 << 10

// secretArg is the token an argument stands for: itself, "-" for standard
// input, "@FILE" for a file, so that it need not show in the process list.
func secretArg(e env, arg string) (string, error) {
	var from io.Reader
	var name string
	switch {
	case arg == "-":
		from, name = e.stdin, "standard input"
	case strings.HasPrefix(arg, "@"):
		f, err := os.Open(arg[1:])
		if err != nil {
			return "", fmt.Errorf("read token: %w", err)
		}
		defer f.Close()
		from, name = f, arg[1:]
	default:
		return arg, nil
	}
	b, err := io.ReadAll(io.LimitReader(from, maxSecretArg))
	token := strings.TrimSpace(string(b))
	if err == nil && token == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fmt.Errorf("read token from %s: %w", name, err)
	}
	return token, nil
}
