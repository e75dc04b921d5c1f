package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
)

// clockEnv names the file with the seconds by which a process's clock is off.
const clockEnv = "P2PTUN_CHAOS_CLOCK"

// stepped is a file of package time, for a program whose wall clock another
// process steps by writing into a file. The monotonic clock stays as it is, as
// when an administrator sets the time.
const stepped = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var wallStep = mapStep()

func mapStep() *int64 {
	path, _ := syscall.Getenv("` + clockEnv + `")
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return new(int64)
	}
	defer syscall.Close(fd)
	b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return new(int64)
	}
	return (*int64)(unsafe.Pointer(&b[0]))
}

func stepOfWall() int64 { return atomic.LoadInt64(wallStep) }
`

// buildStepped builds the program with that clock in dir. The machine's own
// clock is never touched.
func buildStepped(dir string) (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go's packages: %w", err)
	}
	at := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(at, "time.go"))
	if err != nil {
		return "", err
	}
	const reading = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	changed := strings.Replace(string(source), reading, reading+"\tsec += stepOfWall()\n", 1)
	if changed == string(source) {
		return "", errors.New("this Go's time.Now is not the one that is known here")
	}
	files := map[string]string{"time.go": changed, "step.go": stepped}
	replace := make(map[string]string)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(at, name)] = path
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o644); err != nil {
		return "", err
	}
	return e2e.Build(dir, "-buildvcs=false", "-overlay", file)
}

// useClock has node a run with a clock of its own.
func useClock(s *stage) error {
	s.rig.Bin = s.stepped
	s.a.node.Env = append(s.a.node.Env, clockEnv+"="+s.a.clockFile(s.dir))
	return os.WriteFile(s.a.clockFile(s.dir), make([]byte, 8), 0o644)
}

func (p *place) clockFile(dir string) string { return filepath.Join(dir, p.node.Name+".clock") }

// stepClock sets how far node a's is off, and sees that it is.
func stepClock(by time.Duration) func(*stage) error {
	return func(s *stage) error {
		f, err := os.OpenFile(s.a.clockFile(s.dir), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(int64(by/time.Second))), 0)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		shows, err := s.a.node.Clock(s.ctx)
		if err == nil && time.Until(shows.Add(-by)).Abs() > 3*time.Second {
			err = fmt.Errorf("the clock of %s shows %v, which is not %v off", s.a.node.Name, shows, by)
		}
		return err
	}
}
