package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/tunnel"
)

// exportKey writes the network's key, encrypted, to a file or to stdout.
func (n *networkFlags) exportKey(e env, flags *flag.FlagSet, rest []string) error {
	if err := only(flags, "network export-key", "state", "passphrase-file"); err != nil {
		return err
	}
	var file string
	if len(rest) > 1 {
		file = rest[1]
		if _, err := os.Lstat(file); err == nil {
			return errFileExists(file)
		}
	}
	backup, err := n.backup(e)
	if err != nil {
		return err
	}
	secret, err := n.newPassphrase(e)
	if err != nil {
		return err
	}
	text, err := backup.Encrypt(secret)
	if err != nil {
		return err
	}
	if file == "" {
		_, err := e.stdout.Write(text)
		return err
	}
	if err := writeNew(file, text); err != nil {
		return err
	}
	fmt.Fprintf(e.stderr, "wrote the key of the network %s to %s, encrypted; keep the file and the passphrase, not on this machine alone\n", backup.NetworkName, file)
	return nil
}

// backup asks the node, or looks into the state directory of one that does not
// run.
func (n *networkFlags) backup(e env) (b *config.Backup, err error) {
	err = n.either(false,
		func(socket string) error {
			var raw json.RawMessage
			if err := ask(e.ctx, socket, "GET", "/key", nil, &raw); err != nil {
				return err
			}
			b, err = config.ParseBackup(raw)
			return err
		},
		func(dir *config.Dir, node *config.Node) error {
			if node == nil {
				return errNoNetwork
			}
			b, err = tunnel.ExportStored(dir, node)
			return err
		})
	return b, err
}

// importKey makes this machine hold the network's key.
func (n *networkFlags) importKey(e env, flags *flag.FlagSet, rest []string) error {
	if err := only(flags, "network import-key", "state", "name", "passphrase-file"); err != nil {
		return err
	}
	text, err := readBackup(e, rest[1:])
	if err != nil {
		return err
	}
	secret, err := n.passphraseOf()
	if err != nil {
		return err
	}
	b, err := config.OpenBackup(text, secret)
	if err != nil {
		return err
	}
	raw, err := b.Marshal()
	if err != nil {
		return err
	}
	holds := fmt.Sprintf("this machine holds the key of the network %s now: it admits, revokes, and makes admins", b.NetworkName)
	return n.either(true,
		func(socket string) error {
			if err := ask(e.ctx, socket, "POST", "/key", json.RawMessage(raw), new(any)); err != nil {
				return err
			}
			fmt.Fprintln(e.stderr, holds)
			return warnOffline(e, socket, membersOffline)
		},
		func(dir *config.Dir, node *config.Node) error {
			if node != nil {
				if err := tunnel.ImportStored(dir, node, b); err != nil {
					return err
				}
				fmt.Fprintln(e.stderr, holds+"; `p2ptun up` brings it up")
				return nil
			}
			o := upOptions{File: config.File{Name: n.name}}
			node, err := tunnel.Restore(dir, b, o.nodeName())
			if err != nil {
				return err
			}
			fmt.Fprintf(e.stderr, "%s; it is the member %s, `p2ptun up` brings it up, and `p2ptun revoke NAME` then throws out machines that are lost\n", holds, node.Name)
			return nil
		})
}

// either works with the node if it runs, else with its state directory, see
// withState.
func (n *networkFlags) either(create bool, running func(socket string) error, stopped func(*config.Dir, *config.Node) error) error {
	socket, err := n.path()
	if err != nil {
		return err
	}
	err = running(socket)
	switch {
	case !errors.Is(err, errNotRunning):
		return err
	case n.state == "" && (n.socket != "" || n.iface != ""):
		return config.WithHint(err, "if it is not meant to run, say where its state is: --state DIR")
	}
	return withState(n.state, n.file, create, stopped)
}

func readBackup(e env, args []string) ([]byte, error) {
	const limit = 256 << 20 // some 100,000 members
	if len(args) == 0 || args[0] == "-" {
		return io.ReadAll(io.LimitReader(e.stdin, limit))
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// writeNew writes a file that must not be there yet, durably.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return errFileExists(path)
	case err != nil:
		return fmt.Errorf("write backup: %w", err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path)
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

func errFileExists(path string) error {
	return config.WithHint(fmt.Errorf("%s is there already, and is not overwritten", path), "give another name, or move that file away")
}
