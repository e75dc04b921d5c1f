package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// Backup is what brings a network back when every machine that could admit is
// lost: its key, and all that its admins have signed.
type Backup struct {
	Key         NetworkPrivateKey
	NetworkName string
	Prefix      netip.Prefix // IPv4
	Discovery   [32]byte
	Hub         Hub
	Access      []byte   // the hub's access key; none where it is not known
	Statements  [][]byte // signed by admins
}

// Format says of which network, whatever the verb, and none of its secrets.
func (b Backup) Format(f fmt.State, _ rune) {
	io.WriteString(f, "backup of network "+b.Key.Public().ID().String())
}

// LogValue hides the secrets from package slog.
func (b Backup) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(b)) }

// MarshalText refuses: the secrets are written by Marshal, on purpose.
func (b Backup) MarshalText() ([]byte, error) { return nil, errSecret }

type backupJSON struct {
	Key         []byte       `json:"network_key_secret"`
	NetworkName string       `json:"network_name"`
	Prefix      netip.Prefix `json:"prefix"`
	Discovery   []byte       `json:"discovery_key"`
	HubURLs     []string     `json:"hub_urls"`
	HubKey      HubKey       `json:"hub_key"`
	Access      []byte       `json:"hub_access,omitempty"`
	Statements  [][]byte     `json:"statements"`
}

// Marshal is the backup in the clear, as JSON.
func (b *Backup) Marshal() ([]byte, error) {
	return json.MarshalIndent(backupJSON{
		Key: b.Key.Seed(), NetworkName: b.NetworkName, Prefix: b.Prefix, Discovery: b.Discovery[:],
		HubURLs: b.Hub.URLs, HubKey: b.Hub.Key, Access: b.Access, Statements: b.Statements,
	}, "", "\t")
}

// ParseBackup takes what Marshal made.
func ParseBackup(data []byte) (*Backup, error) {
	var f backupJSON
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, backupError(err)
	}
	b := &Backup{
		NetworkName: f.NetworkName, Prefix: f.Prefix, Hub: Hub{URLs: f.HubURLs, Key: f.HubKey},
		Access: f.Access, Statements: f.Statements,
	}
	if err := errors.Join(b.Key.SetSeed(f.Key), f.check()); err != nil {
		return nil, backupError(err)
	}
	copy(b.Discovery[:], f.Discovery)
	return b, nil
}

// check finds what is missing or cut short, but for the key.
func (f *backupJSON) check() error {
	n := nodeJSON{
		Network: NetworkKey{1}, HubURLs: f.HubURLs, HubKey: f.HubKey, Discovery: f.Discovery, Access: f.Access,
		Proof: f.Statements, Prefix: f.Prefix,
	}
	switch {
	case f.NetworkName == "":
		return errors.New("the network's name is missing")
	case len(f.Statements) == 0:
		return errors.New("it says nothing of the network")
	}
	return n.check()
}

func backupError(err error) error {
	return WithHint(fmt.Errorf("the backup is damaged: %w", err), "take another copy of the file, or make a new one with `p2ptun network export-key`")
}

// backupWork is the cost of trying a passphrase: 2^18 is about a second and 256
// MiB, what age itself takes.
const backupWork = 18

// Encrypt makes a file of the backup in age's format (age-encryption.org/v1),
// armored, that opens with the passphrase: `age -d` opens it, too.
func (b *Backup) Encrypt(passphrase string) ([]byte, error) { return b.encrypt(passphrase, backupWork) }

func (b *Backup) encrypt(passphrase string, work int) ([]byte, error) {
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	r.SetWorkFactor(work)
	plain, err := b.Marshal()
	if err != nil {
		return nil, err
	}
	var file bytes.Buffer
	text := armor.NewWriter(&file)
	w, err := age.Encrypt(text, r)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), text.Close()); err != nil {
		return nil, err
	}
	return file.Bytes(), nil
}

// ErrPassphrase says that a backup opens with another passphrase.
var ErrPassphrase = errors.New("the passphrase is not this backup's")

// OpenBackup decrypts what Encrypt made. It returns ErrPassphrase for a wrong
// passphrase; any change of the file is found.
func OpenBackup(file []byte, passphrase string) (*Backup, error) {
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	var other *age.NoIdentityMatchError
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(file)), id)
	switch {
	case errors.As(err, &other):
		return nil, ErrPassphrase
	case err != nil:
		return nil, backupError(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, backupError(err)
	}
	return ParseBackup(plain)
}
