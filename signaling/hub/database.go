package hub

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/p2ptun/p2ptun/config"
	bolt "go.etcd.io/bbolt"
)

// openDB opens the database, which it makes at first. bbolt takes any file that
// is not empty for a database: one whose first pages a loss of power or a full
// disk cut short would keep the hub from starting for ever. So a new one is
// made beside, and gets its name when it is whole.
func openDB(file string) (*bolt.DB, error) {
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		if err := makeDB(file); err != nil {
			return nil, fmt.Errorf("hub state: %w", err)
		}
	}
	db, err := bolt.Open(file, 0o600, &bolt.Options{Timeout: lockTimeout})
	if err != nil {
		return nil, config.WithHint(fmt.Errorf("hub state %s: %w", file, err),
			"restore it from a backup, or begin anew with another --state DIR; nothing has been changed")
	}
	return db, nil
}

// makeDB writes an empty database.
func makeDB(file string) error {
	f, err := os.CreateTemp(filepath.Dir(file), config.TempPattern(stateFile))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := f.Close(); err != nil {
		return err
	}
	db, err := bolt.Open(f.Name(), 0o600, nil)
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	whole, err := os.ReadFile(f.Name())
	if err != nil {
		return err
	}
	return config.WriteFile(file, whole)
}
