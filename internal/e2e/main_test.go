package e2e

import (
	"cmp"
	"os"
	"sync"
	"testing"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

func TestMain(m *testing.M) { natlab.Main(build{m}) }

// build removes the binary when the tests are through.
type build struct{ *testing.M }

func (b build) Run() int {
	defer func() { os.RemoveAll(binDir) }()
	return b.M.Run()
}

var binDir string

var buildOnce = sync.OnceValues(func() (string, error) {
	var err error
	if binDir, err = os.MkdirTemp("", "p2ptun-e2e-"); err != nil {
		return "", err
	}
	return Build(binDir)
})

// binary is the p2ptun that all tests run.
func binary(t *testing.T) string {
	bin, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// requireLab skips a test that cannot run here, with the reason.
func requireLab(t *testing.T) {
	if err := cmp.Or(natlab.Available(), natlab.TUNAvailable()); err != nil {
		t.Skip("no lab here: ", err)
	}
}
