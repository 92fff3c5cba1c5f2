//go:build linux || windows

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// sqlite runs a script in the sqlite3 program and returns what it prints.
func sqlite(t *testing.T, path, script string) string {
	t.Helper()
	cmd := exec.Command("sqlite3", "-bail", "-batch", path)
	cmd.Stdin = strings.NewReader(".timeout 60000\n" + script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("sqlite3 %s: %v\n%s", path, err, out)
	}
	return strings.TrimSpace(string(out))
}

// A database in the mount is used by two programs at a time and is whole after a
// restart, on another machine, and after kill -9.
func TestSQLiteInMount(t *testing.T) {
	needMounts(t)
	needProgram(t, "sqlite3")
	for _, journal := range []string{"wal", "delete", "truncate", "persist"} {
		t.Run(journal, func(t *testing.T) {
			t.Parallel()
			b := newBucket(t)
			config := []string{b.storage("store"), mountTable("db", "store")}
			m := newMachine(t)
			p := m.up(config...)
			path := p.at("db", "test.db")
			if got := sqlite(t, path, "PRAGMA journal_mode="+journal+"; CREATE TABLE t (id INTEGER PRIMARY KEY, who TEXT, body BLOB);"); got != journal {
				t.Fatalf("journal mode is %q, not %s", got, journal)
			}

			const writers, rows = 2, 60
			var wg sync.WaitGroup
			for w := range writers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					var script strings.Builder
					fmt.Fprintf(&script, "PRAGMA journal_mode=%s;\n", journal)
					for i := range rows {
						fmt.Fprintf(&script, "BEGIN IMMEDIATE; INSERT INTO t (who, body) VALUES ('w%d', randomblob(%d)); ", w, 100+i*200)
						if i%10 == 5 {
							fmt.Fprintf(&script, "DELETE FROM t WHERE id = (SELECT min(id) FROM t WHERE who = 'w%d'); ", w)
						}
						script.WriteString("COMMIT;\n")
					}
					sqlite(t, path, script.String())
				}()
			}
			wg.Wait()
			check := func(path string) string {
				t.Helper()
				if got := sqlite(t, path, "PRAGMA integrity_check;"); got != "ok" {
					t.Fatalf("the database is damaged: %s", got)
				}
				return sqlite(t, path, "SELECT who, count(*) FROM t GROUP BY who ORDER BY who; SELECT count(*), sum(length(body)) FROM t;")
			}
			want := check(path)
			if each := rows - rows/10; !strings.HasPrefix(want, fmt.Sprintf("w0|%d\nw1|%[1]d\n", each)) {
				t.Errorf("rows are %s", want)
			}
			p.stop()

			p = newMachine(t).up(config...)
			if got := check(p.at("db", "test.db")); got != want {
				t.Errorf("on another machine rows are %s, not %s", got, want)
			}
			p.stop()

			p = m.restart()
			sqlite(t, path, "PRAGMA journal_mode="+journal+"; INSERT INTO t (who, body) VALUES ('last', randomblob(5000));")
			want = check(path)
			p.kill()
			p = m.restart()
			if got := check(path); got != want {
				t.Errorf("after kill -9 rows are %s, not %s", got, want)
			}
			p.stop()
		})
	}
}
