package term

import (
	"encoding/binary"
	"regexp"
	"unicode/utf16"

	"golang.org/x/sys/windows"
)

// foreignTerminal are the names of the pipes that terminals of Cygwin are for programs of Windows:
// https://github.com/cygwin/cygwin/blob/main/winsup/cygwin/fhandler/pty.cc
var foreignTerminal = regexp.MustCompile(`^\\(cygwin|msys)-[0-9a-f]+-pty[0-9]+-(from|to)-master`)

// isForeign reports whether a reader is a terminal of Cygwin or MSYS2, as Git Bash is one: for programs of
// Windows a pipe, which nobody can tell to hide what is typed.
func isForeign(r any) bool {
	f, ok := r.(file)
	if !ok {
		return false
	}
	h := windows.Handle(f.Fd())
	if kind, err := windows.GetFileType(h); err != nil || kind != windows.FILE_TYPE_PIPE {
		return false
	}
	// FILE_NAME_INFO: how many bytes the name has, and the name in UTF-16.
	const most = 2 * windows.MAX_PATH
	b := make([]byte, 4+most)
	if err := windows.GetFileInformationByHandleEx(h, windows.FileNameInfo, &b[0], uint32(len(b))); err != nil {
		return false
	}
	name := b[4 : 4+min(binary.LittleEndian.Uint32(b), most)]
	units := make([]uint16, len(name)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(name[2*i:])
	}
	return foreignTerminal.MatchString(string(utf16.Decode(units)))
}
