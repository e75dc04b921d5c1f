package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// machine is a host with its disk and the process that may crash.
type machine struct {
	host *natlab.Host
	rig  *Rig       // its Dir is on the disk
	disk *powerDisk // nil: a directory that no power loss touches

	begin func() (*Process, error) // what the user runs; it returns at once
	ready string                   // how the line begins that the process is waited for

	process *Process
}

// start runs the process.
func (m *machine) start() (err error) {
	m.process, err = m.begin()
	return err
}

// fall is the crash: the power goes, or SIGKILL comes.
func (m *machine) fall() error {
	if m.disk != nil {
		if err := m.disk.cut(); err != nil {
			return err
		}
	}
	m.process.Signal(os.Kill) // it may have ended by itself
	return nil
}

// rise makes the machine usable again.
func (m *machine) rise() error {
	m.process.Wait()
	if m.disk == nil {
		return nil
	}
	if err := m.disk.restart(); err != nil {
		return err
	}
	m.rig.Dir = m.disk.dir()
	return nil
}

// stop ends the process as a user does.
func (m *machine) stop() error {
	m.process.Signal(syscall.SIGTERM)
	if err := m.process.Wait(); err != nil {
		return fmt.Errorf("%s ended with %w:\n%s", m.host.Name(), err, m.process.Text())
	}
	return nil
}

// hubArgs are those of a hub on a host, which prints its link.
func hubArgs(r *Rig, host *natlab.Host) []string {
	return []string{"hub", "--print-link", "--state", filepath.Join(r.Dir, host.Name())}
}
