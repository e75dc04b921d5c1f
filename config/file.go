package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// The places where things are kept unless told otherwise.
const (
	DefaultFile      = "/etc/p2ptun/p2ptun.toml"
	DefaultState     = "/var/lib/p2ptun"
	DefaultHubState  = "/var/lib/p2ptun-hub"
	DefaultInterface = "p2ptun0"
)

// DefaultSocket is where the node on that interface takes commands.
func DefaultSocket(iface string) string { return "/run/p2ptun/" + iface + ".sock" }

// File is the config file: what the flags of `up` say, kept. A flag wins over
// it; what neither says has a default.
type File struct {
	Name      string `toml:"name"`
	Interface string `toml:"interface"`
	State     string `toml:"state"`
	Socket    string `toml:"socket"`
	Port      uint16 `toml:"port"`
	RelayOnly bool   `toml:"relay_only"`
	NoGSO     bool   `toml:"no_gso"`
	NoLAN     bool   `toml:"no_lan"`
	LogLevel  string `toml:"log_level"`
	LogFormat string `toml:"log_format"`

	Relay []string `toml:"relay"` // as ParseRelay takes them, or @FILE
}

const maxConfigFile = 1 << 20 // bytes

// LoadFile reads a config file. A missing one is empty if it is the default
// one, else an error.
func LoadFile(path string) (File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && path == DefaultFile {
		return File{}, nil
	}
	if err != nil {
		return File{}, fmt.Errorf("config file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return File{}, fmt.Errorf("config file: %w", err)
	}
	parsed, err := ParseFile(b)
	if err != nil {
		return File{}, fmt.Errorf("config file %s: %w", path, err)
	}
	return parsed, nil
}

// ParseFile decodes a config file. Unknown keys are an error, which says their
// line.
func ParseFile(b []byte) (File, error) {
	var f File
	if len(b) > maxConfigFile {
		return f, errors.New("too long")
	}
	d := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return File{}, tomlError(err)
	}
	return f, nil
}

// tomlError says where in the file the mistake stands.
func tomlError(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		row, _ := strict.Errors[0].Position()
		return fmt.Errorf("line %d: unknown key %q", row, strings.Join(strict.Errors[0].Key(), "."))
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		row, _ := decode.Position()
		return fmt.Errorf("line %d: %w", row, err)
	}
	return err
}
