// Command bridge runs a Windows program whose file systems, mounted through the stand-in
// for WinFsp, it mounts on Linux at the same place:
//
//	bridge wine64 pocket.exe --config Z:\tmp\config.toml
//
// A mount point Z:\path is the Linux directory /path, as under Wine. The exit code is the
// program's. Linux programs can then work with the files, and so can Windows programs
// under Wine. Calls go by the path that a file was opened by, as long as it is open, as
// WinFsp makes them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/hamflx/pocket/e2e/standin"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bridge:", err)
		code = 1
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	if len(args) == 0 {
		return 0, errors.New("the command to run is missing")
	}
	l, err := standin.Listen()
	if err != nil {
		return 0, err
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var volumes sync.WaitGroup
	go func() {
		for {
			v, err := l.Accept(ctx)
			if err != nil {
				return
			}
			volumes.Go(func() {
				if err := serve(ctx, v); err != nil {
					fmt.Fprintln(os.Stderr, "bridge:", err)
				}
			})
		}
	}()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), l.Env())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		cancel()
		return 0, err
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	cancel() // whatever is mounted still belongs to nobody
	volumes.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// unixPath is the Linux path of a Windows path below drive Z, which is Wine's name for
// the root.
func unixPath(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, `Z:`)
	if !ok {
		return "", fmt.Errorf("%s is not below drive Z", path)
	}
	return strings.ReplaceAll(rest, `\`, "/"), nil
}

// serve mounts a volume until the program wants no more or is gone.
func serve(ctx context.Context, v *standin.Volume) error {
	defer v.End()
	dir, err := unixPath(v.Path)
	if err != nil {
		return err
	}
	server, err := mount(v, dir)
	if err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	ended := make(chan struct{})
	go func() {
		server.Wait()
		close(ended)
	}()
	select {
	case <-v.Wanted():
	case <-v.Done():
	case <-ended:
	case <-ctx.Done():
	}
	unmount(server, dir)
	v.End()
	// WinFsp's directory goes with its process, however that ends.
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
