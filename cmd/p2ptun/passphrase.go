package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/term"
)

// Passphrases come from a file or from the terminal: arguments and the
// environment show in the process list.

// passphraseOf is the passphrase of a backup that was made.
func (n *networkFlags) passphraseOf() (string, error) {
	if n.passphrase != "" {
		return passphraseFile(n.passphrase)
	}
	return askTerminal("passphrase of the backup: ")
}

// newPassphrase is the one for a new backup.
func (n *networkFlags) newPassphrase(e env) (string, error) {
	if n.passphrase != "" {
		return passphraseFile(n.passphrase)
	}
	first, err := askTerminal("passphrase for the backup (leave empty to have one made): ")
	if err != nil {
		return "", err
	}
	if first == "" {
		made := strings.ToLower(rand.Text())
		fmt.Fprintf(e.stderr, "passphrase, to be written down: %s\n", made)
		return made, nil
	}
	again, err := askTerminal("the same again: ")
	if err == nil && again != first {
		err = errors.New("the two passphrases are not the same")
	}
	return first, err
}

func passphraseFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("read passphrase from %s: its first line is empty", path)
	}
	return line, nil
}

// askTerminal reads a line from the terminal, without echo, whatever stdin is.
func askTerminal(prompt string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", config.WithHint(errors.New("there is no terminal to ask for the passphrase"), "put it into a file and give that with --passphrase-file FILE")
	}
	defer tty.Close()
	before, err := term.MakeRaw(int(tty.Fd())) // first, so that nothing typed ahead shows
	if err != nil {
		return "", fmt.Errorf("terminal: %w", err)
	}
	defer term.Restore(int(tty.Fd()), before)
	line, err := term.NewTerminal(tty, "").ReadPassword(prompt)
	if errors.Is(err, io.EOF) { // Ctrl-C is a character here, no signal
		err = errors.New("interrupted")
	}
	return line, err
}
