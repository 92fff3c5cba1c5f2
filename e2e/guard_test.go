//go:build linux || windows

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func init() { children["crash"] = crash }

// crash does what a test run does, in a scratch directory of its own, and waits to be
// killed.
func crash(args []string) error {
	scratch = args[0]
	release, err := startGuard()
	if err != nil {
		return err
	}
	defer release()
	path, err := pocketProgram()
	if err != nil {
		return err
	}
	config := filepath.Join(scratch, "config.toml")
	if err := os.WriteFile(config, []byte(mountTable("files", "memory")), 0o600); err != nil {
		return err
	}
	if err := startStandIn(); err != nil {
		return err
	}
	cmd := programCommand(path, "--config", config)
	cmd.Env = environment(scratch)
	group(cmd)
	said, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		return err
	}
	if _, err := mounted(strings.TrimSpace(strings.TrimPrefix(line, "pocket: mounted files at "))); err != nil {
		return err
	}
	fmt.Println(len(mountsBelow(scratch)))
	return cmd.Wait()
}

// A test run that is killed leaves no mount, no process and no file.
func TestKilledTestRunIsCleanedUp(t *testing.T) {
	needMounts(t)
	t.Parallel()
	dir := filepath.Join(newFolder(t), "scratch")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := childCommand("crash", dir)
	cmd.Env = append(cmd.Env, "POCKET_E2E_BINARY="+program)
	group(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// The guard has this pipe too: it ends when the guard has.
	guarded, errs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer guarded.Close()
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	errs.Close()
	mounts, err := bufio.NewReader(out).ReadString('\n')
	cmd.Process.Kill()
	said, _ := io.ReadAll(guarded)
	cmd.Wait()
	if err != nil || mounts != "1\n" {
		t.Fatalf("%q mounts, %v: %s", mounts, err, said)
	}
	if left := mountsBelow(dir); len(left) > 0 {
		t.Errorf("left mounted: %v", left)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("files are left: %v %s", err, said)
	}
}
