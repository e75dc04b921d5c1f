package main

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// daemon is the process that `up` left on the machine: its ID and command
// line.
func (m *machine) daemon() (pid int, cmdline string) {
	m.t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // ended since
		}
		if s := strings.ReplaceAll(string(b), "\x00", " "); strings.HasPrefix(s, "p2ptun up --foreground ") && strings.Contains(s, m.socket()) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			return pid, s
		}
	}
	return 0, ""
}

// kill kills the daemon and waits until it is gone.
func (m *machine) kill() {
	m.t.Helper()
	pid, _ := m.daemon()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		m.t.Fatal(err)
	}
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(commandTimeout.Milliseconds()))
		if err != unix.EINTR {
			return
		}
	}
}

// hasTunnel says whether the interface is there.
func (m *machine) hasTunnel() (found bool) {
	m.t.Helper()
	err := m.host.Do(func() error {
		_, err := net.InterfaceByName("p2ptun0")
		found = err == nil
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return found
}

// TestUp is the life of a node on one machine: made, up twice, down twice, up
// again, crashed, left.
func TestUp(t *testing.T) {
	lab := newTunnelLab(t)
	link := startHub(t, lab)
	m := newMachine(t, lab, "laptop")
	if err := os.WriteFile(filepath.Join(m.dir, "link"), []byte(link), 0o600); err != nil {
		t.Fatal(err)
	}

	invite, talk := m.must("up", "--new", "home", "--hub", "@"+filepath.Join(m.dir, "link"))
	if !isInvite(invite) {
		t.Errorf("the answer is %q, want an invite", invite)
	}
	for _, want := range []string{"p2ptun0 is up: 10.", "connected to the hub at "} {
		if !strings.Contains(talk, want) {
			t.Errorf("%q is not in\n%s", want, talk)
		}
	}
	pid, cmdline := m.daemon()
	if pid == 0 || !m.hasTunnel() {
		t.Fatal("no process, or no interface, is left behind")
	}
	for _, secret := range []string{link, invite} {
		if strings.Contains(cmdline, secret) {
			t.Error("a secret is in the process list")
		}
	}
	checkDetached(t, pid)

	t.Run("already", func(t *testing.T) {
		for _, args := range [][]string{{"up"}, {"up", invite}} {
			if _, talk := m.must(args...); talk != "p2ptun is up already\n" {
				t.Errorf("said %q", talk)
			}
		}
		m.refuses("belongs to the network home already", "up", "--new", "office", "--hub", link)
		m.refuses("belongs to the network home already", "up", testInvite().Token())
		m.refuses("another p2ptun process is using it", "up", "--foreground")
		m.refuses("another p2ptun is using it", "up", "--foreground", "--interface", "p2ptun1")
		if now, _ := m.daemon(); now != pid {
			t.Errorf("the node has process %d, had %d", now, pid)
		}
	})
	t.Run("down and up", func(t *testing.T) {
		for range 3 {
			if _, talk := m.must("down"); !strings.HasPrefix(talk, "p2ptun is down") {
				t.Errorf("said %q", talk)
			}
			if m.hasTunnel() || !missing(m.socket()) {
				t.Fatal("the interface or the socket is still there")
			}
			m.must("up")
		}
		m.must("down")
		if _, talk := m.must("down"); talk != "p2ptun is down already\n" {
			t.Errorf("said %q", talk)
		}
		m.must("up", invite)
	})
	t.Run("crash", func(t *testing.T) {
		m.kill()
		if missing(m.socket()) {
			t.Error("the crash removed the socket: nothing is tested here")
		}
		m.refuses("p2ptun is not running", "status")
		m.must("up")
		m.must("status")
	})
	t.Run("leave", func(t *testing.T) {
		m.must("leave")
		if m.hasTunnel() || !missing(m.socket()) {
			t.Error("the interface or the socket is still there")
		}
		m.refuses("in no network", "leave")
		m.refuses("in no network yet", "up")
		m.must("up", "--new", "office", "--hub", link)
		m.must("down")
		m.must("leave")
	})
	if log, err := os.ReadFile(filepath.Join(m.state(), "p2ptun.log")); err != nil || strings.Contains(string(log), invite) {
		t.Errorf("log: %v, or it holds the invite", err)
	}
}

// checkDetached holds that the process keeps neither a terminal's session, nor
// a directory, nor a file that the starting `up` had open.
func checkDetached(t *testing.T, pid int) {
	t.Helper()
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("process %d is in session %d, %v", pid, sid, err)
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	if cwd, err := os.Readlink(filepath.Join(dir, "cwd")); cwd != "/" {
		t.Errorf("working directory %q, %v", cwd, err)
	}
	if out, err := os.Readlink(filepath.Join(dir, "fd", "1")); out != os.DevNull {
		t.Errorf("stdout is %q, %v", out, err)
	}
	if out, err := os.Readlink(filepath.Join(dir, "fd", "2")); filepath.Base(out) != "p2ptun.log" {
		t.Errorf("stderr is %q, %v", out, err)
	}
}

// TestUpHoldsNothing: a file that the caller's shell has open is not held.
func TestUpHoldsNothing(t *testing.T) {
	lab := newTunnelLab(t)
	m := newMachine(t, lab, "laptop")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := m.command(m.args([]string{"up", "--new", "home", "--hub", testLink().Token()})...)
	cmd.ExtraFiles = []*os.File{w, w} // 3 and 4
	err = cmd.Run()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	fd := int(r.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Read(fd, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the pipe is still open: %d, %v", n, err)
	}
}

// TestFailedUp: a first `up` that fails leaves nothing in its way.
func TestFailedUp(t *testing.T) {
	lab := newTunnelLab(t)
	link := startHub(t, lab)
	m := newMachine(t, lab, "laptop")
	taken, err := m.host.ListenUDP(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.LocalAddr().(*net.UDPAddr).Port)

	// The refusal comes after what up has told until then.
	code, stdout, stderr := m.run("up", "--new", "home", "--hub", link, "--port", port)
	if code != 1 || stdout != "" || !strings.Contains(stderr, errorMark+"udp port "+port+" is in use\n") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if m.hasTunnel() || !missing(m.socket()) {
		t.Error("the interface or the socket is still there")
	}
	m.refuses("want a private IPv4 network", "up", "--new", "home", "--hub", link, "--prefix", m.host.Addr().String()+"/32")
	m.refuses("in no network yet", "up")
	m.must("up", "--new", "home", "--hub", link)
}

// TestRefusedJoin: an invite that is used up is refused at once, and forgotten.
func TestRefusedJoin(t *testing.T) {
	lab := newTunnelLab(t)
	link := startHub(t, lab)
	first, second, third := newMachine(t, lab, "first"), newMachine(t, lab, "second"), newMachine(t, lab, "third")
	invite, _ := first.must("up", "--new", "home", "--hub", link)
	second.must("up", invite)

	code, _, stderr := third.run("up", invite)
	if code != 1 || !strings.Contains(stderr, errorMark+"the invite has been used\n") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	third.refuses("in no network yet", "up")
	invite, _ = first.must("invite")
	third.must("up", invite)
}

// TestInterruptedUp: an `up` that waits for its keeper is stopped, and takes
// its process along; the same invite goes on later.
func TestInterruptedUp(t *testing.T) {
	lab := newTunnelLab(t)
	link := startHub(t, lab)
	keeper, m := newMachine(t, lab, "keeper"), newMachine(t, lab, "laptop")
	invite, _ := keeper.must("up", "--new", "home", "--hub", link)
	keeper.must("down")

	wait := func() *running {
		t.Helper()
		up := m.start(m.args([]string{"up", invite})...)
		if _, err := up.expect("waiting for keeper"); err != nil {
			t.Fatal(err)
		}
		return up
	}
	up := wait()
	out, _ := m.must("status")
	if want := "laptop is joining the network "; !strings.HasPrefix(out, want) {
		t.Errorf("status says %q, want %q", out, want)
	}
	m.refuses("has not been admitted to its network yet", "up")
	up.Process.Signal(syscall.SIGINT)
	if code, out := up.end(); code != 1 || out != "" {
		t.Errorf("interrupted: exit code %d, output %q", code, out)
	}
	if pid, _ := m.daemon(); pid != 0 || !missing(m.socket()) {
		t.Error("the process or the socket is still there")
	}

	up = wait()
	m.must("down")
	if code, out := up.end(); code != 1 || out != errorMark+"p2ptun was taken down before it was up" {
		t.Errorf("taken down: exit code %d, output %q", code, out)
	}
	up = wait()
	m.kill()
	if code, out := up.end(); code != 1 || !strings.HasPrefix(out, errorMark+"the background process ended before it was up: signal: killed") {
		t.Errorf("killed: exit code %d, output %q", code, out)
	}

	keeper.must("up")
	m.must("up")
}

// TestNoPermission: a user without rights is refused at once and makes no
// state.
func TestNoPermission(t *testing.T) {
	lab := newTunnelLab(t)
	m := newMachine(t, lab, "laptop")
	const nobody = 65534
	if err := os.Chown(m.dir, nobody, nobody); err != nil {
		t.Skip("no other user here: ", err)
	}
	if err := os.Chmod(filepath.Dir(m.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	m.exe = filepath.Join(filepath.Dir(t.TempDir()), program) // where others may run it
	binary, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(m.exe, binary, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.as = nobody
	m.refuses("interface p2ptun0: ", "up", "--new", "home", "--hub", testLink().Token())
	m.refuses("interface p2ptun0: ", "up", testInvite().Token())
	if !missing(m.state()) || !missing(m.socket()) {
		t.Error("state or a socket was made")
	}

	m.as = 0
	m.refuses("belongs to user 65534", "up", "--new", "home", "--hub", testLink().Token(), "--state", m.dir)
	m.must("up", "--new", "home", "--hub", testLink().Token())
	m.as = nobody
	m.refuses("no permission to talk to the node", "status")
	m.refuses("no permission to talk to the node", "down")
	m.refuses("no permission to talk to the node", "up")
}
