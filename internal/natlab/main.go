package natlab

import (
	"fmt"
	"os"
)

// Main is the TestMain of packages that use labs: it enters a user namespace if
// it must and can, and runs the tests. Where no lab can be made the tests run
// all the same and have to skip by [Available]; the reason is printed once.
func Main(m interface{ Run() int }) {
	if err := Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(m.Run())
}
