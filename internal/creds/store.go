package creds

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/oserror"
)

// suffix ends the file name of every profile.
const suffix = ".bin"

// markerMagic begins the file of a profile whose key is in the keyring. It has a
// space, so that nothing takes the file for a key.
const markerMagic = "pocket-keyring 1\n"

// maxFile bounds what is read of a profile; one is a few hundred bytes.
const maxFile = 64 << 10

// seal protects what goes into a file and undoes it. The name is bound to it where the
// system has a place for that.
type seal interface {
	protect(name string, plain []byte) ([]byte, error)
	// unprotect returns what protect was given. Errors wrap ErrForeign, ErrDamaged, ErrLocked
	// or ErrNoKeyring.
	unprotect(name string, sealed []byte) ([]byte, error)
	// release removes what protect has made elsewhere than in the file.
	release(sealed []byte) error
	// place tells where the key is of a file that begins with head.
	place(head []byte) Place
}

// Open returns the store of this system in a directory, which Set creates when it is needed.
// Set keeps keys in the keyring, where there is one, else in the file.
func Open(dir string) Store { return OpenIn(dir, Anywhere) }

// OpenIn is Open, but Set keeps keys in a place that is given, and fails where it is
// missing. All are read, wherever they are.
func OpenIn(dir string, p Place) Store { return &dirStore{dir: dir, seal: sealIn(p)} }

// dirStore keeps each profile in a file of its own.
type dirStore struct {
	dir  string
	seal seal
}

func (s *dirStore) file(name string) string { return filepath.Join(s.dir, name+suffix) }

// profile begins an error about a profile that is a file.
func (s *dirStore) profile(name string) string {
	return fmt.Sprintf("profile %q (%s)", name, s.file(name))
}

func (s *dirStore) Get(name string) (Credentials, error) {
	if err := CheckName(name); err != nil {
		return Credentials{}, err
	}
	sealed, err := s.read(name)
	if err != nil {
		return Credentials{}, err
	}
	if len(sealed) == 0 {
		return Credentials{}, fmt.Errorf("%s: %w: the file is empty: make it anew with pocket-creds set %s", s.profile(name), ErrDamaged, name)
	}
	plain, err := s.seal.unprotect(name, sealed)
	if errors.Is(err, ErrLocked) || errors.Is(err, ErrNoKeyring) {
		return Credentials{}, fmt.Errorf("%s: %w", s.profile(name), err)
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("%s: %w: make it anew with pocket-creds set %s", s.profile(name), err, name)
	}
	c, err := decode(plain)
	if err != nil {
		return Credentials{}, fmt.Errorf("%s: %w: %w: make it anew with pocket-creds set %s", s.profile(name), ErrDamaged, err, name)
	}
	return c, nil
}

// read returns the bytes of a profile's file.
func (s *dirStore) read(name string) ([]byte, error) {
	f, err := busyfile.Open(s.file(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, s.notExist(name)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: %w: this user may not read it: make one of your own with pocket-creds set %s", s.profile(name), ErrForeign, name)
	case err != nil:
		return nil, fmt.Errorf("%s: open: %w", s.profile(name), oserror.Reason(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: stat: %w", s.profile(name), oserror.Reason(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: it is not a file: remove it and run pocket-creds set %s", s.profile(name), ErrDamaged, name)
	}
	if exposed(info.Mode()) {
		return nil, fmt.Errorf("%s: %w: its mode is %04o: run chmod 600 on it, and change the key if it may have been seen", s.profile(name), ErrExposed, info.Mode().Perm())
	}
	sealed, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: read: %w", s.profile(name), oserror.Reason(err))
	}
	if len(sealed) > maxFile {
		return nil, fmt.Errorf("%s: %w: it is far too large: make it anew with pocket-creds set %s", s.profile(name), ErrDamaged, name)
	}
	return sealed, nil
}

func (s *dirStore) notExist(name string) error {
	return fmt.Errorf("%w: %q in %s: create it with pocket-creds set %s", ErrNotExist, name, s.dir, name)
}

func (s *dirStore) Set(name string, c Credentials) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return fmt.Errorf("profile %q: %w", name, err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for profiles: %w", err)
	}
	before := s.head(name)
	sealed, err := s.seal.protect(name, encode(c))
	if err != nil {
		return fmt.Errorf("%s: %w", s.profile(name), err)
	}
	// For its owner alone. No profile's name begins with a dot, as the temporary file's does.
	if err := atomicfile.Write(s.file(name), sealed, 0o600); err != nil {
		return errors.Join(fmt.Errorf("profile %q: %w", name, err), s.seal.release(sealed))
	}
	if err := s.seal.release(before); err != nil {
		return fmt.Errorf("profile %q is set, but its old key is still there: %w", name, err)
	}
	return nil
}

// headSize is enough of a profile's file to tell where its key is.
const headSize = 1024

// head returns the beginning of a profile's file; nothing when it cannot be read.
func (s *dirStore) head(name string) []byte {
	f, err := busyfile.Open(s.file(name))
	if err != nil {
		return nil
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, headSize))
	if err != nil {
		return nil
	}
	return head
}

func (s *dirStore) List() ([]Profile, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list profiles in %s: %w", s.dir, oserror.Reason(err))
	}
	var profiles []Profile
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || e.IsDir() || CheckName(name) != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted just now
		}
		if err != nil {
			return nil, fmt.Errorf("list profiles in %s: %w", s.dir, oserror.Reason(err))
		}
		profiles = append(profiles, Profile{name, info.ModTime(), s.seal.place(s.head(name))})
	}
	slices.SortFunc(profiles, func(a, b Profile) int { return strings.Compare(a.Name, b.Name) })
	return profiles, nil
}

func (s *dirStore) Delete(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	before := s.head(name)
	err := busyfile.Remove(s.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return s.notExist(name)
	}
	if err == nil {
		err = atomicfile.SyncDir(s.dir)
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", s.profile(name), oserror.Reason(err))
	}
	if err := s.seal.release(before); err != nil {
		return fmt.Errorf("profile %q is deleted, but its key is still there: %w", name, err)
	}
	return nil
}
