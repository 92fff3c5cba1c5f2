package e2e

import (
	"strings"
	"testing"
)

// On a terminal --watch takes the screen, follows its size, and gives it back at q. Windows' terminals
// are tested by none: a test would have to be one.
func TestWatchOnTerminal(t *testing.T) {
	needMounts(t)
	if underWine {
		t.Skip("Wine 8's console takes escape sequences for text, and breaks its lines in them")
	}
	t.Parallel()
	m := newMachine(t)
	p := m.up(mountTable("files", "memory"))
	for _, key := range []string{"q", "\x03"} {
		master, slave := openTerminal(t)
		cmd := m.command("status", "--watch")
		cmd.Env = append(cmd.Env, "TERM=xterm")
		ownTerminal(cmd, slave)
		cmd.Stdout = slave
		w := m.startCommand(cmd)
		slave.Close()
		var shown transcript
		go func() {
			buffer := make([]byte, 4096)
			for {
				n, err := master.Read(buffer)
				shown.Write(buffer[:n])
				if err != nil {
					shown.close()
					return
				}
			}
		}()
		for range 2 { // two pictures
			if _, ok := shown.wait(patience, func(line string) bool { return strings.Contains(line, "mounted at ") }); !ok {
				t.Fatalf("nothing is shown: %q", shown.text())
			}
		}
		write(t, master, key)
		if code := w.wait(); code != exitOK {
			t.Errorf("it ended with %d", code)
		}
		if _, ok := shown.wait(patience, func(line string) bool { return false }); ok {
			t.Fatal("the terminal is not closed")
		}
		text := shown.text()
		if !strings.HasPrefix(text, "\x1b[?1049h") || !strings.Contains(text, "\x1b[?25h\x1b[?1049l") {
			t.Errorf("the screen is not given back: %q", text)
		}
	}
	p.stop()
}
