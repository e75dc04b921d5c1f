package natlab

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is the user that owns nothing.
const nobody = 65534

// Run by an ordinary user the tests enter a user namespace and pass there too.
func TestEnter(t *testing.T) {
	if os.Getuid() != 0 || os.Getenv(enteredEnv) != "" {
		t.Skip("only root can become an ordinary user")
	}
	cmd := exec.Command(publicCopy(t), "-test.v",
		"-test.run=^(TestPunch|TestFilterIsPerMapping|TestTCP|TestLinkDelay|TestCloseKills)$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), noRaceSleep)
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), userNamespaceHint) {
		t.Skip("this machine forbids user namespaces")
	}
	if err != nil || strings.Count(string(out), "\n--- PASS") != 5 {
		t.Errorf("as user %d: %v, want five tests passed\n%s", nobody, err, out)
	}
}

// publicCopy returns a copy of this program where every user can run it.
func publicCopy(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "natlab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "natlab.test")
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestExitCode(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -TERM $$": 128 + 15} {
		if got := exitCode(exec.Command("/bin/sh", "-c", script).Run()); got != want {
			t.Errorf("%s: exit code %d, want %d", script, got, want)
		}
	}
}
