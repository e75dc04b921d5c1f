package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// role runs this program as one of a contender's processes, if the arguments
// say so.
func role(args []string) bool {
	if len(args) < 3 || !strings.HasPrefix(args[1], "role:") {
		return false
	}
	var err error
	switch args[1] {
	case wireGuardRole:
		err = runWireGuard(args[2])
	case pionRole:
		err = runPion(args[2])
	default:
		err = fmt.Errorf("no %s", args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", args[1], err)
		os.Exit(1)
	}
	return true
}

// startRole starts this program on a host with such arguments and stdin, and
// returns when it has printed a line. It ends with the stage.
func (s *stage) startRole(ctx context.Context, host *natlab.Host, stdin string, args ...string) (pid int, err error) {
	cmd := host.Command(ctx, s.self, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	s.running.Go(func() { cmd.Wait() })
	if _, err := in.Write([]byte(stdin)); err != nil {
		return 0, err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return 0, fmt.Errorf("%s on %s has not come up: %w", args[0], host.Name(), err)
	}
	return cmd.Process.Pid, nil
}
