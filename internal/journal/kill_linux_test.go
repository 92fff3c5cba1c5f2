package journal

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hamflx/pocket/internal/bootid"
)

var kills = flag.Int("journal.kills", 100, "moments to look at a journal as if its process were killed")

// A process that commits is stopped at any moment, its files are copied, and it goes on: the copies are what
// kill -9 leaves. In none of them may anything be taken for damage or be missing. From time to time it is killed.
func TestNoMomentOfAKillLooksLikeDamage(t *testing.T) {
	dir := memoryDir(t)
	r := rand.New(rand.NewPCG(rand.Uint64(), 1))
	const each = 50
	for left := *kills; left > 0; left -= each {
		path := filepath.Join(dir, fmt.Sprint(left/each/2), "journal.db") // begun anew every other time
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+path)
		_, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { cmd.Process.Kill() })
		lines := bufio.NewScanner(out)
		acknowledged, gone := -1, 0
		for range min(each, left) {
			for range 1 + r.IntN(10) {
				require.True(t, lines.Scan())
				what, number, _ := strings.Cut(lines.Text(), " ")
				n, err := strconv.Atoi(number)
				require.NoError(t, err, lines.Text())
				switch what {
				case "ack":
					acknowledged = max(acknowledged, n)
				case "gone":
					gone = max(gone, n)
				}
			}
			require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
			var status unix.WaitStatus
			_, err := unix.Wait4(cmd.Process.Pid, &status, unix.WUNTRACED, nil)
			require.NoError(t, err)
			require.True(t, status.Stopped())
			killed := filepath.Join(dir, "journal.db")
			copyKilled(t, path, killed)
			if r.IntN(4) == 0 {
				require.NoError(t, os.Remove(killed+"-shm"))
			}
			require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))

			j, err := Open(killed, Options{Boot: bootid.Get()})
			require.NoError(t, err)
			_, why := j.Kept()
			require.NoError(t, why)
			loaded := load(t, j)
			require.NotEmpty(t, loaded.Entries)
			for i, e := range loaded.Entries {
				require.Equal(t, loaded.Entries[0].Start+int32(i), e.Start)
			}
			require.Greater(t, int(loaded.Entries[len(loaded.Entries)-1].End), acknowledged)
			require.GreaterOrEqual(t, int(loaded.Entries[0].Start), gone)
			require.NoError(t, j.Close())
			for _, suffix := range files {
				require.NoError(t, removed(killed+suffix))
			}
		}
		require.NoError(t, cmd.Process.Kill())
		cmd.Wait()
	}
}
