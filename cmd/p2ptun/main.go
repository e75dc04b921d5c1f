// Command p2ptun joins machines behind NATs into one private network. See the
// README for what it does, and `p2ptun help` for its commands.
//
// It owns flags, output, exit codes and the process that `up` leaves behind;
// all that a node or a hub does is in the packages tunnel and signaling/hub.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/p2ptun/p2ptun/config"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// env is what a command works with.
type env struct {
	ctx    context.Context // ends with SIGINT and SIGTERM
	stdin  io.Reader
	stdout io.Writer // the answer
	stderr io.Writer // the rest

	background *background // of the process that `up` leaves behind, else nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends a process that hangs
	e := env{ctx: ctx, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, background: adoptBackground()}
	if e.background != nil {
		e.stdout, e.stderr = e.background, e.background
	}
	os.Exit(run(e, os.Args[1:]))
}

func run(e env, args []string) int {
	if len(args) == 0 {
		printUsage(e.stderr)
		return exitUsage
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		if len(args) == 0 {
			printUsage(e.stdout)
			return exitDone
		}
		name, args = args[0], []string{"--help"}
	case "-version", "--version":
		name = "version"
	}
	for _, c := range commands() {
		if c.name == name {
			return report(e, c, c.run(e, args))
		}
	}
	fmt.Fprintf(e.stderr, "p2ptun: error: there is no command %q\np2ptun: hint: `p2ptun help` lists them\n", name)
	return exitUsage
}

// usageError is a mistake on the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// errorMark begins the line that tells what failed.
const errorMark = "p2ptun: error: "

// report prints an error as one clear line, and a hint where there is one.
func report(e env, c command, err error) int {
	var usage *usageError
	var help *helpRequest
	var reported *reportedError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &help):
		c.printHelp(e.stdout, help.flags)
		return exitDone
	case errors.As(err, &reported):
		return reported.code
	case errors.As(err, &usage):
		fmt.Fprintf(e.stderr, "%s%s: %v\np2ptun: hint: `p2ptun %s --help` shows its flags\n", errorMark, c.name, err, c.name)
		return exitUsage
	case errors.Is(err, context.Canceled) && e.ctx.Err() != nil:
		return exitFailed // interrupted: whoever did it knows
	}
	fmt.Fprintf(e.stderr, "%s%s\n", errorMark, strings.ReplaceAll(err.Error(), "\n", "; "))
	if hint := config.HintOf(err); hint != "" {
		fmt.Fprintf(e.stderr, "p2ptun: hint: %s\n", hint)
	}
	return exitFailed
}
