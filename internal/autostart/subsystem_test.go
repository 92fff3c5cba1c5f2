package autostart

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// portable is the smallest program for Windows that debug/pe reads, of a subsystem.
func portable(subsystem uint16) []byte {
	le := binary.LittleEndian
	body := make([]byte, 0x40, 512)
	copy(body, "MZ")
	le.PutUint32(body[peAt:], 0x40)
	body = append(body, "PE\x00\x00"...)
	body, _ = binary.Append(body, le, pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, SizeOfOptionalHeader: 240})
	body, _ = binary.Append(body, le, pe.OptionalHeader64{Magic: 0x20b, Subsystem: subsystem, CheckSum: 0x12345678, NumberOfRvaAndSizes: 16})
	return body
}

// memory is a file in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m).ReadAt(p, off)
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(m)) || copy(m[off:], p) < len(p) {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestSubsystemIsAllThatChanges(t *testing.T) {
	program := memory(portable(subsystemConsole))
	require.NoError(t, setSubsystem(program, subsystemConsole))
	require.Equal(t, memory(portable(subsystemConsole)), program)
	require.NoError(t, setSubsystem(program, subsystemGUI))
	f, err := pe.NewFile(program)
	require.NoError(t, err)
	header := f.OptionalHeader.(*pe.OptionalHeader64)
	require.EqualValues(t, pe.IMAGE_SUBSYSTEM_WINDOWS_GUI, header.Subsystem)
	require.Zero(t, header.CheckSum)
	changed := 0
	for i, b := range portable(subsystemConsole) {
		if program[i] != b {
			changed++
		}
	}
	require.Equal(t, 5, changed, "four bytes of the checksum, and one")
}

// A program as it is built is the same but for its subsystem.
func TestBuiltProgramChangesItsSubsystem(t *testing.T) {
	source, path := filepath.Join(t.TempDir(), "main.go"), filepath.Join(t.TempDir(), "p.exe")
	require.NoError(t, os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600))
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("go is not installed, as under Wine: ", err)
	}
	build := exec.Command(tool, "build", "-o", path, source)
	build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=arm64", "CGO_ENABLED=0")
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, setSubsystem(f, subsystemGUI))
	read, err := pe.NewFile(f)
	require.NoError(t, err)
	require.EqualValues(t, pe.IMAGE_SUBSYSTEM_WINDOWS_GUI, read.OptionalHeader.(*pe.OptionalHeader64).Subsystem)
}

func TestWhatIsNoProgramForWindowsIsRefused(t *testing.T) {
	whole := portable(subsystemConsole)
	for n := range len(whole) {
		if n >= 0x40+peHeader+subsystemEnds {
			break
		}
		require.ErrorContains(t, setSubsystem(memory(whole[:n:n]), subsystemGUI), "it is no program for Windows: it ends within its header")
	}
	for at, want := range map[int]string{
		1: "does not begin with MZ", peAt + 3: "ends within", 0x40: "no PE header",
		0x40 + sizeAt: "optional header has 15 bytes", 0x40 + peHeader: "begins with 0x20f", 0x40 + peHeader + subsystemAt: "subsystem 15",
	} {
		program := memory(portable(subsystemConsole))
		program[at] = 0x0f
		before := bytes.Clone(program)
		require.ErrorContains(t, setSubsystem(program, subsystemGUI), want)
		require.Equal(t, memory(before), program)
	}
	broken := errors.New("broken")
	require.ErrorIs(t, setSubsystem(brokenFile{broken}, subsystemGUI), broken)
}

// brokenFile cannot be read.
type brokenFile struct{ err error }

func (b brokenFile) ReadAt([]byte, int64) (int, error)  { return 0, b.err }
func (b brokenFile) WriteAt([]byte, int64) (int, error) { return 0, b.err }
