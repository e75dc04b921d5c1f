package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// event is a line of `go test -json`, see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output
	Test       string
	Output     string
	Elapsed    float64
}

// test runs the tests of packages and counts each. The output of one that
// fails is shown, and the reason of one that skips is kept.
func (c *checker) test(flags []string, packages ...string) {
	args := append([]string{"test", "-json", "-count=1", "-timeout=12m"}, flags...)
	cmd := exec.CommandContext(c.ctx, "go", append(args, packages...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.failed = append(c.failed, "go test: "+err.Error())
		return
	}
	before := len(c.failed)
	r := &reader{checker: c, output: make(map[string][]string)}
	r.read(out)
	if err := cmd.Wait(); err != nil && len(c.failed) == before {
		c.failed = append(c.failed, "go test: "+err.Error())
	}
}

// reader follows the events of one `go test`.
type reader struct {
	*checker
	output map[string][]string // of tests that run, by package and name
}

func (r *reader) read(in io.Reader) {
	for dec := json.NewDecoder(in); ; {
		var e event
		if dec.Decode(&e) != nil {
			return
		}
		r.take(e)
	}
}

func (r *reader) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "build-output":
		fmt.Print(e.Output)
	case "build-fail":
		r.failed = append(r.failed, "build of "+e.ImportPath)
	case "pass", "fail", "skip":
		r.finish(e, key)
		delete(r.output, key)
	}
}

func (r *reader) finish(e event, key string) {
	name := strings.TrimPrefix(key, "github.com/p2ptun/p2ptun/")
	took := time.Duration(e.Elapsed * float64(time.Second))
	switch {
	case e.Test == "" && e.Action == "pass":
		fmt.Printf("ok    %-50s %v\n", name, took)
	case e.Test == "" && e.Action == "fail":
		fmt.Printf("FAIL  %-50s %v\n%s", name, took, strings.Join(r.output[key], ""))
	case e.Test == "":
		fmt.Printf("-     %-50s no tests\n", name)
	case e.Action == "pass":
		r.passed++
	case e.Action == "skip":
		r.skipped = append(r.skipped, name+": "+reason(r.output[key]))
	default:
		r.failed = append(r.failed, name)
		fmt.Print(strings.Join(r.output[key], ""))
	}
}

// reason is what a test said before it skipped.
func reason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}
