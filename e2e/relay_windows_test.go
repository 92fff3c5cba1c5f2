package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/windows"
)

// relayAddress is set where these tests run under Wine: the address of those on Linux, and their token.
var relayAddress = os.Getenv("POCKET_E2E_RELAY")

// relayedProgram, as the first argument, makes this program stand for one that runs in the other Wine.
const relayedProgram = "relayed"

// giveOrder gives an order.
func giveOrder(address string, o order) (relay, error) {
	host, token, _ := strings.Cut(address, "/")
	c, err := net.Dial("tcp", host)
	if err != nil {
		return relay{}, err
	}
	o.Token = token
	r := newRelay(c)
	return r, r.Encode(o)
}

// ask gives an order and waits until it is carried out.
func ask(o order) (report, error) {
	r, err := giveOrder(relayAddress, o)
	if err != nil {
		return report{}, err
	}
	defer r.Close()
	var got report
	if err := r.Decode(&got); err != nil {
		return got, fmt.Errorf("%s: %w", o.Do, err)
	}
	if got.Error != "" {
		return got, errors.New(got.Error)
	}
	return got, nil
}

// standFor is the whole of a process that stands for a program, if this is to be one: its input, outputs and exit
// code are the program's.
func standFor(args []string) (code int, ok bool) {
	if len(args) < 4 || args[1] != relayedProgram {
		return 0, false
	}
	code, err := relayProgram(args[2], args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: relay:", err)
		return 1, true
	}
	return code, true
}

func relayProgram(address string, args []string) (code int, err error) {
	dir, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	kind, err := windows.GetFileType(windows.Handle(os.Stderr.Fd()))
	if err != nil {
		return 0, err
	}
	hidden := kind == windows.FILE_TYPE_CHAR // the null device: tests have no consoles
	r, err := giveOrder(address, order{Do: "run", PID: os.Getpid(), Args: args, Env: os.Environ(), Dir: dir, Hidden: hidden})
	if err != nil {
		return 0, err
	}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := os.Stdin.Read(buffer)
			if r.Encode(order{Input: buffer[:n], Closed: err != nil}) != nil || err != nil {
				return
			}
		}
	}()
	for {
		var got report
		if err := r.Decode(&got); err != nil {
			return 0, err
		}
		os.Stdout.Write(got.Stdout)
		os.Stderr.Write(got.Stderr)
		if got.Error != "" {
			return 0, errors.New(got.Error)
		}
		if got.Done {
			return got.Code, nil
		}
	}
}

// programCommand is a command of a built program, or of one of Windows' own.
func programCommand(program string, args ...string) *exec.Cmd {
	if underWine {
		return exec.Command(os.Args[0], append([]string{relayedProgram, relayAddress, program}, args...)...)
	}
	return exec.Command(program, args...)
}
