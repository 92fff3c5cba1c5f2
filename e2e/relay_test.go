//go:build linux || windows

package e2e

import (
	"encoding/gob"
	"net"
	"strings"
)

// The tests that are built for Windows run under Wine, too: there they are the ones who look at
// what pocket.exe has mounted, and pocket.exe is in another Wine (see machine.beside). What they do to it goes
// through these tests on Linux, which run it, and serve its mounts:
//
//	e2e.test.exe --- POCKET_E2E_RELAY ---> TestTheTestsOfWindows ---> wine64 pocket.exe
//
// Each connection has one order, and reports until it is carried out.

// order is what is to be done on Linux.
type order struct {
	Token  string   // of POCKET_E2E_RELAY
	Do     string   // see carryOut
	PID    int      // of run: the number of the process that stands for the program, by which others call it
	Args   []string // of run
	Env    []string // of run
	Dir    string   // of run
	Hidden bool     // of run: nobody gives it input or reads what it says
	Path   string   // of mount, vanish, mounts, unmount
	Input  []byte   // of run: more of its input; the orders that follow the first one have nothing else
	Closed bool     // of run: there is no more input
}

// report is what came of it.
type report struct {
	Stdout, Stderr []byte
	Paths          []string
	Error          string
	Done           bool
	Code           int // of run, when it is done
}

// relay is a connection to those who carry orders out, or to those who give them.
type relay struct {
	net.Conn
	*gob.Encoder
	*gob.Decoder
}

func newRelay(c net.Conn) relay { return relay{c, gob.NewEncoder(c), gob.NewDecoder(c)} }

// unixPath is what a path of Wine is for Linux.
func unixPath(path string) string {
	return strings.ReplaceAll(strings.TrimPrefix(path, "Z:"), `\`, "/")
}
