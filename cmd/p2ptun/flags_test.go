package main

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		most int
		rest []string
		on   bool   // --on
		text string // --text
		err  string
	}{
		{name: "nothing"},
		{name: "before", args: []string{"--on", "--text", "x", "a"}, most: 1, rest: []string{"a"}, on: true, text: "x"},
		{name: "after", args: []string{"a", "--text=x", "--on"}, most: 1, rest: []string{"a"}, on: true, text: "x"},
		{name: "between", args: []string{"a", "--text", "x", "b"}, most: 2, rest: []string{"a", "b"}, text: "x"},
		{name: "one dash", args: []string{"-on", "-text", "x"}, on: true, text: "x"},
		{name: "stdin is an argument", args: []string{"-", "--on"}, most: 1, rest: []string{"-"}, on: true},
		{name: "no flags after --", args: []string{"a", "--", "--on", "-x"}, most: 3, rest: []string{"a", "--on", "-x"}},
		{name: "a value is no flag", args: []string{"--text", "--on"}, text: "--on"},
		{name: "too many", args: []string{"a", "b"}, most: 1, err: `unexpected argument "b"`},
		{name: "too many after --", args: []string{"--", "a"}, err: `unexpected argument "a"`},
		{name: "unknown", args: []string{"a", "--off"}, most: 1, err: "there is no flag --off"},
		{name: "no value", args: []string{"--text"}, err: "--text wants a value"},
		{name: "bad bool", args: []string{"--on=perhaps"}, err: `invalid boolean value "perhaps" for -on`},
		{name: "bad number", args: []string{"--number", "x"}, err: `invalid value "x" for --number`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := flag.NewFlagSet("test", flag.ContinueOnError)
			on, text := fs.Bool("on", false, ""), fs.String("text", "", "")
			fs.Int("number", 0, "")
			rest, err := parse(fs, tt.args, tt.most)
			if tt.err != "" {
				var usage *usageError
				if !errors.As(err, &usage) || err.Error() != tt.err {
					t.Fatalf("error %v, want usage error %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(rest, tt.rest) || *on != tt.on || *text != tt.text {
				t.Errorf("got %q, on %t, text %q; want %q, %t, %q", rest, *on, *text, tt.rest, tt.on, tt.text)
			}
		})
	}
}

func TestParseHelp(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"--help"}, {"a", "--help"}} {
		fs := flag.NewFlagSet("test", flag.ContinueOnError)
		fs.String("text", "none", "a `WORD` or two")
		fs.Bool("on", false, "switch")
		_, err := parse(fs, args, 0)
		var help *helpRequest
		if !errors.As(err, &help) {
			t.Fatalf("%q: error %v, want a request for help", args, err)
		}
		want := "  --on                   switch\n  --text WORD            a WORD or two (default none)\n"
		if help.flags != want {
			t.Errorf("%q: got\n%swant\n%s", args, help.flags, want)
		}
	}
}

func TestLifetime(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want time.Duration // 0: refused
	}{
		{"90m", 90 * time.Minute}, {"24h", 24 * time.Hour}, {"1d", 24 * time.Hour}, {"7d", 168 * time.Hour},
		{"999999999d", maxDays * 24 * time.Hour},
		{"0h", 0}, {"-1h", 0}, {"-1d", 0}, {"0d", 0}, {"d", 0}, {"1.5d", 0}, {"1h1d", 0}, {"soon", 0}, {"", 0},
		{"99999999999999999999d", 0},
	} {
		var l lifetime
		err := l.Set(tt.in)
		if (err == nil) != (tt.want > 0) || err == nil && time.Duration(l) != tt.want {
			t.Errorf("%q: got %v, %v, want %v", tt.in, time.Duration(l), err, tt.want)
		}
	}
	for l, want := range map[lifetime]string{lifetime(24 * time.Hour): "24h", lifetime(90 * time.Minute): "1h30m0s"} {
		if got := l.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSecretArg(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("\n from-file \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := io.MultiReader(strings.NewReader("x"), brokenReader{})
	for _, tt := range []struct {
		name  string
		arg   string
		stdin io.Reader
		want  string
		err   string
	}{
		{name: "itself", arg: "token", want: "token"},
		{name: "file", arg: "@" + file, want: "from-file"},
		{name: "stdin", arg: "-", stdin: strings.NewReader("from-stdin\n"), want: "from-stdin"},
		{name: "no file", arg: "@" + file + "x", err: "no such file"},
		{name: "directory", arg: "@" + filepath.Dir(file), err: "is a directory"},
		{name: "empty stdin", arg: "-", stdin: strings.NewReader(" \n"), err: "standard input: it is empty"},
		{name: "broken stdin", arg: "-", stdin: broken, err: "standard input: broken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := secretArg(env{stdin: tt.stdin}, tt.arg)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken") }
