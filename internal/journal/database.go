package journal

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/busyfile"
)

const (
	// applicationID in the database's header says whose it is ("Pckt").
	applicationID = 0x50636b74
	// schemaVersion counts what an older Pocket would not understand, here and in the
	// cache: since 2 small chunks lie in packs, and a Pocket that does not look there
	// would take the pending ones for lost.
	schemaVersion = 2

	// Most transactions change one row in each of two tables. Small pages make
	// them write half of what the default of 4096 does.
	pageSize = 2048

	// checkpointBytes is about how much may be written to the WAL between two
	// checkpoints. When commits that go on during them have made the WAL
	// walFactor times as large, one of them keeps commits waiting.
	checkpointBytes = 4 << 20
	walFactor       = 8
	// checkLimit is the size of a database up to which Open looks at all of it.
	checkLimit = 256 << 20
)

const schema = `
CREATE TABLE entries (
	seq   INTEGER PRIMARY KEY,
	peer  INTEGER NOT NULL,
	first INTEGER NOT NULL,
	next  INTEGER NOT NULL,
	body  BLOB NOT NULL
);
CREATE TABLE uploads (
	row    INTEGER PRIMARY KEY,
	object BLOB NOT NULL,
	size   INTEGER NOT NULL,
	node   INTEGER NOT NULL,
	added  INTEGER NOT NULL
);
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE index_objects (
	key  TEXT PRIMARY KEY,
	size INTEGER NOT NULL,
	file TEXT NOT NULL,
	body BLOB
);
`

// database is the SQLite side of a journal. The driver is used without
// database/sql: there is one connection for one writer, and a pool in between
// costs as much as a transaction.
type database struct {
	path string
	wal  syncer // journal.db-wal, opened once more to sync it while commits go on

	// mu is held during a transaction: it guards main and the statements.
	mu    sync.Mutex
	main  *connection // nil once closed
	begin *statement
	end   *statement
	undo  *statement

	insertEntry, deleteEntries *statement
	insertUpload, deleteUpload *statement
	setMeta, deleteMeta        *statement
	putObject, dropObject      *statement
	statements                 []*statement // all of them

	// side checkpoints while main commits. One goroutine at a time uses it.
	side *connection

	large   int64        // how much grown may be: checkpointBytes
	grown   atomic.Int64 // about how much was written to the WAL since the last checkpoint
	suspect atomic.Bool  // a sync of the WAL failed, after which the system may have forgotten pages of it
}

// syncer is what sync needs of an open file.
type syncer interface {
	Sync() error
	Close() error
}

// connection is a connection to SQLite.
type connection struct {
	driver.Conn
	exec  driver.ExecerContext
	query driver.QueryerContext
}

// connect opens a connection to the database at path.
func connect(path string) (*connection, error) {
	// A URI, since the driver takes what follows a question mark in a plain
	// name for its parameters. Absolute, with a slash before a drive letter.
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	abs = filepath.ToSlash(abs)
	if !strings.HasPrefix(abs, "/") {
		abs = "/" + abs
	}
	conn, err := (&sqlite.Driver{}).Open("file://" + (&url.URL{Path: abs}).EscapedPath() + "?_error_rc=1")
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: conn, exec: conn.(driver.ExecerContext), query: conn.(driver.QueryerContext)}
	// Others do not hold locks for long: backup programs, people who look.
	if err := c.run("PRAGMA busy_timeout=2000"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// run executes SQL text without results.
func (c *connection) run(sql string) error {
	_, err := c.exec.ExecContext(context.Background(), sql, nil)
	return err
}

// each calls fn with each row of a query's result; fn must not keep the row.
func (c *connection) each(sql string, columns int, fn func(row []driver.Value) error) error {
	rows, err := c.query.QueryContext(context.Background(), sql, nil)
	if err != nil {
		return err
	}
	row := make([]driver.Value, columns)
	for {
		if err = rows.Next(row); err != nil {
			break
		}
		if err = fn(row); err != nil {
			break
		}
	}
	if err == io.EOF {
		err = nil
	}
	return errors.Join(err, rows.Close())
}

// value returns the first column of a query's only row, or nil.
func (c *connection) value(sql string) (v driver.Value, err error) {
	err = c.each(sql, 1, func(row []driver.Value) error {
		v = row[0]
		return nil
	})
	return v, err
}

// number is value for an integer.
func (c *connection) number(sql string) (int64, error) {
	v, err := c.value(sql)
	n, _ := v.(int64)
	return n, err
}

// statement is a prepared statement with room for its arguments.
type statement struct {
	driver.Stmt
	exec driver.StmtExecContext
	args []driver.NamedValue
}

func (c *connection) prepare(sql string) (*statement, error) {
	stmt, err := c.Prepare(sql)
	if err != nil {
		return nil, err
	}
	s := &statement{Stmt: stmt, exec: stmt.(driver.StmtExecContext), args: make([]driver.NamedValue, strings.Count(sql, "?"))}
	for i := range s.args {
		s.args[i].Ordinal = i + 1
	}
	return s, nil
}

// run executes s with the arguments set in s.args, and lets go of them.
func (s *statement) run() error {
	_, err := s.exec.ExecContext(context.Background(), s.args)
	for i := range s.args {
		s.args[i].Value = nil
	}
	return err
}

// openDatabase opens or creates the database at path.
func openDatabase(path, boot string) (_ *database, err error) {
	d := &database{path: path, large: checkpointBytes}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	// SQLite gives its other files the access of this one.
	f, err := busyfile.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if d.main, err = connect(path); err != nil {
		return nil, err
	}
	if err := d.prepareFile(boot); err != nil {
		return nil, err
	}
	if d.side, err = connect(path); err != nil {
		return nil, err
	}
	if err := d.side.run("PRAGMA wal_autocheckpoint=0; PRAGMA checkpoint_fullfsync=1"); err != nil {
		return nil, err
	}
	for sql, s := range map[string]**statement{
		"BEGIN IMMEDIATE": &d.begin,
		"COMMIT":          &d.end,
		"ROLLBACK":        &d.undo,
		"INSERT INTO entries (seq, peer, first, next, body) VALUES (?, ?, ?, ?, ?)":        &d.insertEntry,
		"DELETE FROM entries WHERE seq BETWEEN ? AND ?":                                    &d.deleteEntries,
		"INSERT INTO uploads (row, object, size, node, added) VALUES (?, ?, ?, ?, ?)":      &d.insertUpload,
		"DELETE FROM uploads WHERE row = ?":                                                &d.deleteUpload,
		"INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)":                           &d.setMeta,
		"DELETE FROM meta WHERE key = ?":                                                   &d.deleteMeta,
		"INSERT OR REPLACE INTO index_objects (key, size, file, body) VALUES (?, ?, ?, ?)": &d.putObject,
		"DELETE FROM index_objects WHERE key = ?":                                          &d.dropObject,
	} {
		if *s, err = d.main.prepare(sql); err != nil {
			return nil, err
		}
		d.statements = append(d.statements, *s)
	}
	// The WAL exists since the first read, and for as long as a connection does.
	wal, err := busyfile.OpenFile(path+"-wal", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	d.wal = wal
	// Its name, and the database's, must survive a power loss as well.
	return d, atomicfile.SyncDir(filepath.Dir(path))
}

// prepareFile checks that the database is a journal, makes it one when it is
// empty, and sets how it is written.
func (d *database) prepareFile(boot string) error {
	c := d.main
	// Counts the schema's tables first: that reads the file, and so meets most
	// kinds of damage.
	tables, err := c.number("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return err
	}
	owner, err := c.number("PRAGMA application_id")
	if err != nil {
		return err
	}
	version, err := c.number("PRAGMA user_version")
	if err != nil {
		return err
	}
	fresh := tables == 0 && owner == 0 && version == 0
	switch {
	case fresh:
		if err := c.run(fmt.Sprintf("PRAGMA page_size=%d", pageSize)); err != nil {
			return err
		}
	case owner != applicationID:
		return fmt.Errorf("%w: it is the database of another program", ErrDamaged)
	case version > schemaVersion:
		return fmt.Errorf("%w: version %d, this one reads up to %d; update pocket", ErrNewer, version, schemaVersion)
	case version < 1:
		return fmt.Errorf("%w: it claims version %d, which never was", ErrDamaged, version)
	}
	mode, err := c.value("PRAGMA journal_mode=WAL")
	if err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("its file system cannot hold a write-ahead log (mode %v)", mode)
	}
	// NORMAL: a commit is not synced. What survives when the process is killed
	// is already with the system; the rest is done by sync.
	// The WAL keeps its space for the next transactions, up to a limit.
	err = c.run(fmt.Sprintf("PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0; PRAGMA checkpoint_fullfsync=1; PRAGMA journal_size_limit=%d", walFactor*checkpointBytes))
	if err != nil {
		return err
	}
	if fresh {
		d.noteBoot(boot)
		err := c.run(fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT", schema, applicationID, schemaVersion))
		if err != nil {
			return err
		}
		// So that a power loss does not leave an empty file in its place. Without the log's name, it would leave a part
		// of the database in the middle of this.
		if err := atomicfile.SyncDir(filepath.Dir(d.path)); err != nil {
			return err
		}
		return c.run("PRAGMA wal_checkpoint(TRUNCATE)")
	}
	info, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	if info.Size() <= checkLimit {
		verdict, err := c.value("PRAGMA quick_check(1)")
		if err != nil {
			return err
		}
		if verdict != "ok" {
			return fmt.Errorf("%w: %v", ErrDamaged, verdict)
		}
	}
	d.noteBoot(boot)
	if version < schemaVersion { // the tables are the same
		return c.run(fmt.Sprintf("PRAGMA user_version=%d", schemaVersion))
	}
	return nil
}

// close closes what openDatabase opened. The last connection checkpoints.
func (d *database) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if d.wal != nil {
		err = d.wal.Close()
		d.wal = nil
	}
	// SQLite keeps a connection open that has statements left.
	for _, s := range d.statements {
		err = errors.Join(err, s.Close())
	}
	d.statements = nil
	for _, c := range []**connection{&d.side, &d.main} {
		if *c != nil {
			err = errors.Join(err, (*c).Close())
			*c = nil
		}
	}
	return err
}

// commit does ops in one transaction: all of them or none.
func (d *database) commit(ops []op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.main == nil {
		return ErrClosed
	}
	if slices.ContainsFunc(ops, func(o op) bool { return o.erase }) {
		// Pages that are let go of are filled with zeros: from one of which nobody knows any more whose it was, an
		// entry would be taken for one that is missing.
		if err := d.main.run("PRAGMA secure_delete=ON"); err != nil {
			return err
		}
		defer func() { _ = d.main.run("PRAGMA secure_delete=OFF") }() // it only takes time
	}
	err := d.begin.run()
	if sqliteCode(err) == sqlite3.SQLITE_ERROR {
		// A rollback failed, and the transaction is still open.
		if err = d.undo.run(); err == nil {
			err = d.begin.run()
		}
	}
	if err != nil {
		return err
	}
	written := 2 * pageSize
	for i := range ops {
		n, err := d.apply(&ops[i])
		if err != nil {
			return d.rollback(err)
		}
		written += n
	}
	if err := d.end.run(); err != nil {
		return d.rollback(err)
	}
	d.grown.Add(int64(written))
	return nil
}

// rollback ends a transaction that failed because of err, which it returns.
func (d *database) rollback(err error) error {
	if undone := d.undo.run(); undone != nil {
		// After some errors SQLite has rolled back by itself, and says so.
		if sqliteCode(undone) != sqlite3.SQLITE_ERROR {
			err = errors.Join(err, undone)
		}
	}
	// A full disk has room again once the log can be written from its start.
	if sqliteCode(err) == sqlite3.SQLITE_FULL && d.grown.Load() > 0 {
		if _, _, checkpointed := d.main.checkpoint("PASSIVE"); checkpointed == nil {
			d.grown.Store(0)
		}
	}
	return err
}

// apply does one operation within a transaction, and estimates the bytes it
// writes.
func (d *database) apply(o *op) (written int, err error) {
	for _, row := range o.remove {
		d.deleteUpload.args[0].Value = row
		if err := d.deleteUpload.run(); err != nil {
			return 0, err
		}
	}
	if o.seq != 0 {
		if err := d.putEntry(o.seq, &o.entry); err != nil {
			return 0, err
		}
		written += len(o.entry.Update)
	}
	for i := range o.insert {
		u := &o.insert[i]
		a := d.insertUpload.args
		a[0].Value = o.row + int64(i)
		a[1].Value = u.Object[:]
		a[2].Value = u.Size
		a[3].Value = int64(u.Node)
		a[4].Value = o.added
		if err := d.insertUpload.run(); err != nil {
			return 0, err
		}
		written += 64
	}
	for _, s := range o.publish {
		a := d.deleteEntries.args
		a[0].Value, a[1].Value = s.first, s.last
		if err := d.deleteEntries.run(); err != nil {
			return 0, err
		}
	}
	written += 64 * (len(o.remove) + len(o.publish))
	if o.other != nil {
		n, err := d.applyOther(o.other)
		return written + n, err
	}
	return written, nil
}

func (d *database) putEntry(seq int64, e *Entry) error {
	a := d.insertEntry.args
	a[0].Value = seq
	a[1].Value = int64(e.Peer)
	a[2].Value = int64(e.Start)
	a[3].Value = int64(e.End)
	a[4].Value = e.Update
	return d.insertEntry.run()
}

func (d *database) applyOther(o *otherOp) (written int, err error) {
	for i := range o.entries {
		if err := d.putEntry(o.first+int64(i), &o.entries[i]); err != nil {
			return 0, err
		}
		written += len(o.entries[i].Update) + 64
	}
	if o.key != "" {
		s := d.deleteMeta
		if o.value != nil {
			s = d.setMeta
			s.args[1].Value = o.value
		}
		s.args[0].Value = o.key
		if err := s.run(); err != nil {
			return 0, err
		}
		written += len(o.value) + pageSize
	}
	for _, key := range o.drop {
		d.dropObject.args[0].Value = key
		if err := d.dropObject.run(); err != nil {
			return 0, err
		}
		written += pageSize
	}
	for i := range o.put {
		object := &o.put[i]
		a := d.putObject.args
		a[0].Value = object.Key
		a[1].Value = object.Size
		a[2].Value = object.File
		if object.File == "" {
			a[1].Value = int64(len(object.Body))
			a[3].Value = object.Body
		}
		if err := d.putObject.run(); err != nil {
			return 0, err
		}
		written += len(object.Body) + 2*pageSize
	}
	return written, nil
}

// sync makes what was committed survive a power loss. Commits go on meanwhile.
// What is not in the WAL any more was synced with the database before it left.
func (d *database) sync() error {
	if d.suspect.Load() {
		// The system reports the loss of a written page once, and then takes it
		// for clean. So everything is written once more, to the database.
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.main == nil {
			return ErrClosed
		}
		busy, _, err := d.main.checkpoint("TRUNCATE")
		if err != nil {
			return err
		}
		if busy {
			return errors.New("the log is being read by another program")
		}
		d.suspect.Store(false)
		d.grown.Store(0)
		return nil
	}
	if err := d.wal.Sync(); err != nil {
		d.suspect.Store(true)
		return err
	}
	return nil
}

// checkpointWhenLarge moves what is in the WAL to the database when that is
// much. Commits go on meanwhile, except when the WAL does not get smaller that
// way. A full disk is no error: the WAL holds what the database does not.
func (d *database) checkpointWhenLarge() error {
	grown := d.grown.Load()
	if grown < d.large {
		return nil
	}
	_, frames, err := d.side.checkpoint("PASSIVE")
	if err == nil && frames*pageSize > walFactor*d.large {
		d.mu.Lock()
		grown = d.grown.Load()
		_, _, err = d.side.checkpoint("PASSIVE")
		d.mu.Unlock()
	}
	if err == nil {
		d.grown.Add(-grown)
		return nil
	}
	switch sqliteCode(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY:
		return nil
	}
	return err
}

// checkpoint moves what is in the WAL to the database in the manner of mode. It
// returns whether others kept it from ending, and the length of the WAL in pages.
func (c *connection) checkpoint(mode string) (busy bool, frames int64, err error) {
	err = c.each("PRAGMA wal_checkpoint("+mode+")", 3, func(row []driver.Value) error {
		busy, frames = toInt(row[0]) != 0, toInt(row[1])
		return nil
	})
	return busy, frames, err
}
