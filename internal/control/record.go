package control

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/busyfile"
)

// About says which process it is.
type About struct {
	PID     int    `json:"pid"`
	Version string `json:"version"` // of the program
	Config  string `json:"config"`  // path of the configuration
}

// record is what lies in the run directory for a process.
type record struct {
	Protocol int    `json:"protocol"`
	Address  string `json:"address"` // of the socket
	About
}

const (
	// protocol is the version of the protocol.
	protocol     = 1
	recordSuffix = ".json"
	recordMost   = 64 << 10
)

// Dir returns the directory of the records below a data directory.
func Dir(dataDir string) string { return filepath.Join(dataDir, "run") }

// socket is a listener, and the record that names it once that is saved.
type socket struct {
	net.Listener
	address string
	record  string // path
	body    []byte // of the record
}

// openSocket makes a socket. Who finds its record, which save writes, can connect.
func openSocket(dataDir string, about About) (*socket, error) {
	dir, name := Dir(dataDir), strings.ToLower(rand.Text()[:10])
	s := &socket{record: filepath.Join(dir, name+recordSuffix)}
	err := inPrivate(dir, func() (err error) {
		s.Listener, s.address, err = listen(dir, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(record{Protocol: protocol, Address: s.address, About: about})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.body = append(body, '\n')
	return s, nil
}

// inPrivate does something in a directory of this user's alone, which is made when it is missing.
func inPrivate(dir string, do func() error) error {
	for attempt := 0; ; attempt++ {
		err := makePrivate(dir)
		if err == nil {
			err = do()
		}
		// Another process that ends may remove the directory, while it is empty.
		if !errors.Is(err, os.ErrNotExist) || attempt == 3 {
			return err
		}
	}
}

// save writes the record.
func (s *socket) save() error {
	return inPrivate(filepath.Dir(s.record), func() error { return atomicfile.Write(s.record, s.body, 0o600) })
}

// saved reports whether the record is there as it was written.
func (s *socket) saved() bool {
	f, err := busyfile.Open(s.record)
	if err != nil {
		return false
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, int64(len(s.body)+1)))
	return err == nil && bytes.Equal(body, s.body)
}

// forget removes the record: nobody new finds the socket.
func (s *socket) forget() error {
	if err := busyfile.Remove(s.record); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Process is a running pocket. Its methods may be called concurrently.
type Process struct {
	About
	address string
}

// Find returns the processes that run below dataDir, in no order, and removes what
// those left that were killed. Records that cannot be read are errors, beside which the other
// processes are returned.
func Find(ctx context.Context, dataDir string) ([]*Process, error) {
	dir := Dir(dataDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for running processes: %w", err)
	}
	var found []*Process
	var errs []error
	for _, e := range entries {
		name, isRecord := strings.CutSuffix(e.Name(), recordSuffix)
		path := filepath.Join(dir, e.Name())
		if !isRecord {
			removeStray(path, e)
			continue
		}
		r, err := readRecord(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue // it has ended just now
		case err != nil:
			errs = append(errs, err)
			continue
		case r.Protocol != protocol:
			errs = append(errs, fmt.Errorf("process %d is pocket %s, which speaks another protocol: use its own commands, or stop it with Ctrl-C", r.PID, r.Version))
			continue
		}
		c, err := dial(ctx, r.Address)
		switch {
		case err == nil:
			c.Close()
			found = append(found, &Process{About: r.About, address: r.Address})
		case isGone(err):
			errs = append(errs, removeStale(path, filepath.Join(dir, name), r.Address))
		default:
			errs = append(errs, fmt.Errorf("process %d cannot be asked: %w", r.PID, err))
		}
	}
	return found, errors.Join(errs...)
}

func readRecord(path string) (record, error) {
	var r record
	f, err := busyfile.Open(path)
	if err != nil {
		return r, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, recordMost))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("%s is damaged: remove it: %w", path, err)
	}
	return r, nil
}

// strayAge is how old a socket or temporary file without a record is at least before it is taken for
// one that a killed process left.
const strayAge = time.Minute

// removeStray removes a file that is no record and that nobody is about to use: the
// temporary file of a record, or a socket whose process was killed before it wrote one.
func removeStray(path string, e os.DirEntry) {
	info, err := e.Info()
	if err != nil || e.IsDir() || time.Since(info.ModTime()) < strayAge {
		return
	}
	if name, ok := strings.CutSuffix(path, socketSuffix); ok {
		if _, err := os.Lstat(name + recordSuffix); err == nil {
			return
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			return
		}
	}
	os.Remove(path) // tried again the next time
}

// removeStale removes the record of a process that is gone and its socket.
func removeStale(record, name, address string) error {
	err := busyfile.Remove(record)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("remove what a process left that is gone: %w", err)
	}
	removeSocket(address)
	return nil
}
