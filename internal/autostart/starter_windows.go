package autostart

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// withoutWindow is a program with a console, but without a window, which goes on when this one
// and its console end. What pocket may run (a credential_process of the AWS configuration) uses that console
// instead of showing one of its own.
func withoutWindow(program string, args []string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW | windows.CREATE_NEW_PROCESS_GROUP}
	return cmd
}

// Detach starts a program without a window, which goes on when this one and its console end.
func Detach(program string, args []string) (Started, error) {
	return start(withoutWindow(program, args))
}

// HandOver is what pocketw.exe does instead of mounting: it has the pocket.exe beside it do that, without a
// window, and reports that it did. Any other program, and one that cannot start that one, is to
// mount by itself. On stdout the process that mounts is written, for startStarter.
func HandOver(args []string) bool {
	self, err := os.Executable()
	if err != nil || !strings.EqualFold(filepath.Base(self), starterName) {
		return false
	}
	pid := os.Getpid()
	cmd := withoutWindow(filepath.Join(filepath.Dir(self), pocketName), args)
	if err = cmd.Start(); err == nil {
		pid = cmd.Process.Pid
	}
	fmt.Println(pid) // there is a stdout if install asks
	return err == nil
}

// starterWait is how long pocketw.exe may take, which a virus scanner may look at first.
const starterWait = time.Minute

// startStarter starts pocketw.exe and learns which process it leaves.
func startStarter(ctx context.Context, program string, args []string) (Started, error) {
	cmd := exec.Command(program, args...)
	out, in, err := os.Pipe()
	if err != nil {
		return Started{}, err
	}
	cmd.Stdout = in
	starter, err := start(cmd)
	in.Close()
	if err != nil {
		out.Close()
		return Started{}, err
	}
	said := make(chan string, 1)
	go func() {
		defer out.Close()
		line, _ := bufio.NewReader(out).ReadString('\n') // without one there is no number
		said <- strings.TrimSpace(line)
	}()
	ctx, cancel := context.WithTimeout(ctx, starterWait)
	defer cancel()
	var line string
	select {
	case line = <-said:
	case <-ctx.Done():
		cmd.Process.Kill() // it may have ended
		return Started{}, fmt.Errorf("%s does not say what it has started: %w", program, ctx.Err())
	}
	pid, err := strconv.Atoi(line)
	if err != nil {
		return Started{}, fmt.Errorf("%s has started nothing", program)
	}
	if pid == starter.PID {
		return starter, nil
	}
	process, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return Started{PID: pid, Alive: func() bool { return false }}, nil
	}
	return Started{PID: pid, Alive: func() bool {
		event, err := windows.WaitForSingleObject(process, 0)
		return err == nil && event == uint32(windows.WAIT_TIMEOUT)
	}}, nil
}
