package creds

import (
	"errors"
	"fmt"
	"io"
)

// Prompter asks a person, or reads the lines of a pipe; term.Input is one.
type Prompter interface {
	Line(prompt string) (string, error)
	Secret(prompt string) (string, error) // does not show what is typed
}

// Ask asks for the parts of c that are empty.
func Ask(p Prompter, c Credentials) (Credentials, error) {
	var err error
	if c.AccessKeyID == "" {
		c.AccessKeyID, err = p.Line("Access key id: ")
	}
	// Nobody should type a secret for an id that is refused then.
	if err == nil {
		if err := c.checkID(); err != nil {
			return Credentials{}, err
		}
	}
	if err == nil && c.SecretAccessKey == "" {
		c.SecretAccessKey, err = p.Secret("Secret access key: ")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return Credentials{}, errors.New("the access key id and the secret access key are needed, each on a line of its own: nothing was changed")
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("read the access key: %w", err)
	}
	return c, c.Check()
}

// AskOver is Ask for a profile that has a key, which no answer keeps: the end of the input, or
// ENTER.
func AskOver(p Prompter, name string, kept Credentials) (Credentials, error) {
	id, err := p.Line(fmt.Sprintf("Access key id (ENTER keeps the key of profile %q): ", name))
	if err == nil && id == "" || errors.Is(err, io.ErrUnexpectedEOF) {
		return kept, nil
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("read the access key: %w", err)
	}
	return Ask(p, Credentials{AccessKeyID: id})
}

// Keep sets a profile and reads it back: what was written is what counts, not what was
// meant. It returns where the key is, in words.
func Keep(s Store, name string, c Credentials) (where string, err error) {
	if err := s.Set(name, c); err != nil {
		return "", err
	}
	kept, err := s.Get(name)
	if err != nil {
		return "", err
	}
	if kept != c {
		return "", fmt.Errorf("profile %q does not read back as it was written: check the disk and set it again", name)
	}
	profiles, err := s.List()
	if err != nil {
		return "", err
	}
	for _, p := range profiles {
		if p.Name == name {
			return describe(p.Place), nil
		}
	}
	return "", fmt.Errorf("profile %q is gone again: set it anew", name)
}
