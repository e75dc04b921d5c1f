package natlab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The programs in these tests are this test binary itself, told by the
// environment what to be.
const roleEnv = "NATLAB_TEST_ROLE"

// noRaceSleep spares children the second that the race detector sleeps at exit.
const noRaceSleep = "GORACE=atexit_sleep_ms=0"

// role is what the binary does instead of running tests.
func role(name string) {
	switch name {
	case "namespace": // says where it is
		ns, err := os.Readlink("/proc/self/ns/net")
		fmt.Println(ns, err)
	case "sleep": // never ends by itself
		fmt.Println(os.Getpid())
		select {}
	case "daemon": // leaves a child of its own session behind
		child := exec.Command("/proc/self/exe")
		child.Env = append(os.Environ(), roleEnv+"=sleep")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			fmt.Println(err)
		}
	case "lookup": // asks the resolver
		addrs, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip6", ipv4only)
		slices.SortFunc(addrs, netip.Addr.Compare)
		fmt.Println(addrs, err)
	case "crash":
		fmt.Println(crash()) // if it returns
	}
	os.Exit(0)
}

func command(ctx context.Context, h *Host, role string) *Cmd {
	cmd := h.Command(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+role, noRaceSleep)
	return cmd
}

// Commands run in their own host's namespace, also when many start at once.
func TestCommand(t *testing.T) {
	lab := newLab(t)
	var wg sync.WaitGroup
	for i := range 4 {
		h := Must(lab.PublicHost(fmt.Sprint("h", i)))
		for range 3 {
			wg.Go(func() {
				out, err := command(t.Context(), h, "namespace").Output()
				want := fmt.Sprintf("net:[%d] <nil>\n", h.ns.inode)
				if string(out) != want || err != nil {
					t.Errorf("ran in %q, %v; want %q", out, err, want)
				}
			})
		}
	}
	wg.Wait()
	for _, path := range []string{"/proc/thread-self/ns/net", "/proc/self/ns/net"} {
		if got, want := inodeOf(path), homeInode(t, lab); got != want {
			t.Errorf("%s is namespace %d afterwards, want %d", path, got, want)
		}
	}
}

func TestCommandErrors(t *testing.T) {
	lab := newLab(t)
	h := Must(lab.PublicHost("h"))
	if err := h.Command(t.Context(), "/does/not/exist").Run(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing program: %v, want %v", err, os.ErrNotExist)
	}
	out, err := h.Command(t.Context(), "/bin/sh", "-c", "echo out; echo err >&2; exit 3").CombinedOutput()
	var exit *exec.ExitError
	if string(out) != "out\nerr\n" || !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("output %q, error %v; want both lines and exit status 3", out, err)
	}
}

// startAndRead starts the role and returns the process ID that it prints.
func startAndRead(t *testing.T, h *Host, role string) (cmd *Cmd, pid int) {
	t.Helper()
	cmd = command(context.Background(), h, role)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, pid
}

// Close ends children, and those of their children that went their own way.
func TestCloseKills(t *testing.T) {
	lab := newLab(t)
	h := Must(lab.PublicHost("h"))
	child, _ := startAndRead(t, h, "sleep")
	daemon, orphan := startAndRead(t, h, "daemon")
	if err := daemon.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := lab.Close(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("child ended with %v, want signal: killed", err)
	}
	if got := inodeOf(fmt.Sprintf("/proc/%d/ns/net", orphan)); got == h.ns.inode {
		t.Errorf("process %d still runs in the lab", orphan)
	}
}

// A host's processes die with the process that made the lab, and the namespaces
// with them.
func TestCrash(t *testing.T) {
	if err := Available(); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"=crash")
	out, err := cmd.Output()
	if err == nil || err.Error() != "signal: killed" {
		t.Fatalf("ended with %v and said %q, want signal: killed", err, out)
	}
	pid, inode := 0, uint64(0)
	if _, err := fmt.Sscan(string(out), &pid, &inode); err != nil {
		t.Fatalf("said %q: %v", out, err)
	}
	eventually(t, func() error {
		if inodeOf(fmt.Sprintf("/proc/%d/ns/net", pid)) == inode {
			return fmt.Errorf("process %d survived", pid)
		}
		return nil
	})
}

// crash makes a lab with a process in it, says which, and dies.
func crash() error {
	lab, err := New()
	if err != nil {
		return err
	}
	h, err := lab.PublicHost("h")
	if err != nil {
		return err
	}
	cmd := command(context.Background(), h, "sleep")
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println(cmd.Process.Pid, h.ns.inode)
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func homeInode(t *testing.T, lab *Lab) uint64 {
	t.Helper()
	st, err := lab.home.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Ino
}
