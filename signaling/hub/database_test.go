package hub

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/sys/unix"
)

// fullDisk, in the environment, makes the test binary a hub that starts on that
// state while the disk takes no file longer than one page.
const fullDisk = "P2PTUN_TEST_FULL_DISK"

// A first start that a full disk stops leaves nothing in the way of the next
// one; and it says what to do.
func TestFirstStartOnFullDisk(t *testing.T) {
	if dir := os.Getenv(fullDisk); dir != "" {
		signal.Ignore(unix.SIGXFSZ) // a write beyond the limit fails then
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 4096, Max: 4096}); err != nil {
			t.Fatal(err)
		}
		s, err := openState(dir)
		if err == nil {
			s.close()
			t.Fatal("started")
		}
		t.Fatalf("refused: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "state")
	cmd := exec.Command(os.Args[0], "-test.run=^TestFirstStartOnFullDisk$")
	cmd.Env = append(os.Environ(), fullDisk+"="+dir, hubProcess+"=")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "refused: hub state: ") {
		t.Fatalf("on a full disk: %v\n%s", err, out)
	}
	s, err := openState(dir)
	if err != nil {
		t.Fatalf("when there is space: %v", err)
	}
	s.close()
}

// What a crash may leave of a first start is an empty file, or a part of one
// under another name.
func TestFirstStartAfterCrash(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, stateFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp(dir, config.TempPattern(stateFile))
	if err != nil {
		t.Fatal(err)
	}
	f.Write(make([]byte, 5000))
	f.Close()
	s, err := openState(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 { // the lock and the database
		t.Errorf("there are %v, %v", entries, err)
	}
	damaged := filepath.Join(dir, stateFile)
	if err := os.WriteFile(damaged, make([]byte, 16384), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openState(dir); err == nil || !strings.Contains(config.HintOf(err), "backup") || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a damaged database: %v, hint %q", err, config.HintOf(err))
	}
}
