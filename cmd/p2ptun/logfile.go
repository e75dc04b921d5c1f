package main

import (
	"fmt"
	"os"
	"sync"
)

// maxLog is the size, in bytes, at which a log file is set aside for a new one.
// One old file is kept.
const maxLog = 8 << 20

// logFile is the log of the process that stays. Safe for concurrent use.
type logFile struct {
	path string
	max  int64
	use  func(*os.File) error // takes each new file for what Go prints of a crash

	mu   sync.Mutex // guards what follows
	file *os.File
	size int64
}

func openLog(path string, max int64, use func(*os.File) error) (*logFile, error) {
	l := &logFile{path: path, max: max, use: use}
	return l, l.open()
}

// open begins or goes on with the file.
func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		err = l.use(f)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("log file: %w", err)
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write implements io.Writer. p goes to one file as a whole.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(p)) > l.max && os.Rename(l.path, l.path+".1") == nil {
		if err := l.open(); err != nil { // then the old one goes on for as long again
			os.Rename(l.path+".1", l.path)
			l.size = 0
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}
