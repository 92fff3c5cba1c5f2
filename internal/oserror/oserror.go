// Package oserror tells what errors of package os mean, and shortens them for messages that
// name the path already.
package oserror

import (
	"errors"
	"io/fs"
)

// Reason returns an error of package os without the operation and the path: what errors.Is finds
// in it, it finds in the result. Others come back as they are.
func Reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
