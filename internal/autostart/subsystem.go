package autostart

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The subsystem of a program for Windows says what is made for it when it starts:
// https://learn.microsoft.com/windows/win32/debug/pe-format#windows-subsystem
const (
	subsystemGUI     = 2 // nothing
	subsystemConsole = 3 // a console, with a window, unless it is started from one
)

// Where things are in a program for Windows, in bytes.
const (
	peAt          = 0x3c // of the file: where the header is, 4 bytes
	peHeader      = 24   // from the header on: the optional header
	sizeAt        = 20   // from the header on: the size of the optional header, 2 bytes
	checksumAt    = 64   // of the optional header: 4 bytes
	subsystemAt   = 68   // of the optional header: 2 bytes, in PE32 and PE32+ alike
	subsystemEnds = subsystemAt + 2
)

// file is what setSubsystem changes.
type file interface {
	io.ReaderAt
	io.WriterAt
}

// setSubsystem makes a program for Windows one of a subsystem, which is consoles' or GUI's now.
func setSubsystem(f file, subsystem uint16) error {
	optional, now, err := findSubsystem(f)
	if err != nil || now == subsystem {
		return err
	}
	// Checksums are compared for drivers only; none is better than a wrong one.
	if _, err := f.WriteAt(make([]byte, 4), optional+checksumAt); err != nil {
		return err
	}
	_, err = f.WriteAt(binary.LittleEndian.AppendUint16(nil, subsystem), optional+subsystemAt)
	return err
}

// findSubsystem returns where the optional header of a program for Windows is, and its subsystem.
func findSubsystem(f io.ReaderAt) (optional int64, subsystem uint16, err error) {
	defer func() {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is no program for Windows: it ends within its header")
		}
	}()
	var start [peAt + 4]byte
	if _, err := f.ReadAt(start[:], 0); err != nil {
		return 0, 0, err
	}
	if start[0] != 'M' || start[1] != 'Z' {
		return 0, 0, errors.New("it is no program for Windows: it does not begin with MZ")
	}
	at := int64(binary.LittleEndian.Uint32(start[peAt:]))
	var header [peHeader + subsystemEnds]byte
	if _, err := f.ReadAt(header[:], at); err != nil {
		return 0, 0, err
	}
	if string(header[:4]) != "PE\x00\x00" {
		return 0, 0, errors.New("it is no program for Windows: it has no PE header")
	}
	size := binary.LittleEndian.Uint16(header[sizeAt:])
	magic := binary.LittleEndian.Uint16(header[peHeader:])
	if magic != 0x10b && magic != 0x20b || size < subsystemEnds {
		return 0, 0, fmt.Errorf("it is no program for Windows: its optional header has %d bytes and begins with %#x", size, magic)
	}
	subsystem = binary.LittleEndian.Uint16(header[peHeader+subsystemAt:])
	if subsystem != subsystemConsole && subsystem != subsystemGUI {
		return 0, 0, fmt.Errorf("it is a program of subsystem %d, neither of consoles nor of windows", subsystem)
	}
	return at + peHeader, subsystem, nil
}
