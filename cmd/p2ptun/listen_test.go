package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

func TestListenControl(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "made", "p2ptun.sock")
	l, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v, want mode 0600", info.Mode(), err)
	}
	refuses(t, path, "another node is using it")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}

	t.Run("left by a crash", func(t *testing.T) {
		old, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		old.(*net.UnixListener).SetUnlinkOnClose(false)
		old.Close()
		l, err := listenControl(path)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	})
	t.Run("something else is kept", func(t *testing.T) {
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		refuses(t, file, "something else in its place")
		if b, err := os.ReadFile(file); string(b) != "precious" {
			t.Errorf("the file is now %q, %v", b, err)
		}
		refuses(t, filepath.Join(file, "sock"), "not a directory")
	})
	t.Run("too long", func(t *testing.T) {
		refuses(t, filepath.Join(dir, strings.Repeat("x", maxSocketPath)), "at most 107 fit")
	})
}

func refuses(t *testing.T, path, want string) {
	t.Helper()
	l, err := listenControl(path)
	if err == nil {
		l.Close()
		t.Fatalf("%s was taken", path)
	}
	if !strings.Contains(err.Error(), want) || config.HintOf(err) == "" {
		t.Errorf("got %v, want %q with a hint", err, want)
	}
}
