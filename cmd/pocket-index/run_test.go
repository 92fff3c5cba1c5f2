package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl/manifest"
	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/creds"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/dirstore"
	"github.com/hamflx/pocket/objstore/s3store"
	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

var update = flag.Bool("update", false, "write what the commands print into testdata")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pocket-index": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			// One place for the platform's directory on every system, and no
			// credentials of whoever runs the tests.
			for _, name := range []string{"HOME", "USERPROFILE", "APPDATA", "XDG_CONFIG_HOME"} {
				e.Setenv(name, e.WorkDir)
			}
			e.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"mkstore": mkstore, "s3": s3server, "fill": fill, "age": age, "damage": damage, "mkblob": mkblob, "same": same, "snapshot": snapshot, "expand": expand,
		},
	})
}

// mkstore DIR makes an empty store in a folder.
func mkstore(ts *testscript.TestScript, _ bool, args []string) {
	_, err := dirstore.Open(ts.MkAbs(args[0]), true)
	ts.Check(err)
}

// s3 starts a server for the script, with the environment to reach it, and keeps its
// access key as profile "main" beside config.toml.
func s3server(ts *testscript.TestScript, _ bool, _ []string) {
	srv, err := s3test.Start()
	ts.Check(err)
	ts.Defer(srv.Close)
	for name, value := range map[string]string{
		"ENDPOINT": srv.Endpoint, "BUCKET": srv.Bucket, "AWS_ACCESS_KEY_ID": srv.AccessKeyID, "AWS_SECRET_ACCESS_KEY": srv.SecretAccessKey,
	} {
		ts.Setenv(name, value)
	}
	profiles := creds.OpenIn(ts.MkAbs("credentials"), creds.InFile)
	ts.Check(profiles.Set("main", creds.Credentials{AccessKeyID: srv.AccessKeyID, SecretAccessKey: srv.SecretAccessKey}))
}

func openTestStore(ts *testscript.TestScript, name string) objstore.Store {
	prefix, isS3 := strings.CutPrefix(name, "s3:")
	if !isS3 {
		dir, prefix, _ := strings.Cut(name, ":")
		s, err := dirstore.Open(ts.MkAbs(dir), false)
		ts.Check(err)
		return objstore.WithPrefix(s, prefix)
	}
	s, err := s3store.Open(context.Background(), s3store.Config{
		Bucket: ts.Getenv("BUCKET"), Endpoint: ts.Getenv("ENDPOINT"), Region: "us-east-1",
		Credentials: func(context.Context) (id, secret, session string, err error) {
			return ts.Getenv("AWS_ACCESS_KEY_ID"), ts.Getenv("AWS_SECRET_ACCESS_KEY"), "", nil
		},
	})
	ts.Check(err)
	return objstore.WithPrefix(s, prefix)
}

// fill STORE writes a small index with two devices' files into a store, DIR:PREFIX or
// s3:PREFIX. The same bytes each time.
func fill(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(fillStore(openTestStore(ts, args[0])))
}

// fillStore is fill.
func fillStore(store objstore.Store) error {
	ctx := context.Background()
	b := &bucket{store: store}
	now := time.Date(2025, 3, 2, 9, 30, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	file := loroindex.Info{Kind: loroindex.File, Mode: 0o644, Created: now.UnixMicro(), UID: -1, GID: -1}
	dir := file
	dir.Kind, dir.Mode = loroindex.Dir, 0o755
	put := func(body string) (loroindex.Content, error) {
		id := objectid.Of([]byte(body))
		return loroindex.Content{Size: int64(len(body)), ModTime: now.UnixMicro(), Object: id}, store.Put(ctx, id.Key(), []byte(body))
	}
	device := func(name string, peer uint64) (*loroindex.Index, error) {
		l, err := loroindex.Load(ctx, b, nil, loroindex.Options{Device: name, Peer: peer, Now: clock})
		if err != nil {
			return nil, err
		}
		return l.Index, nil
	}
	do := func(x *loroindex.Index, change func(tx *loroindex.Tx) error) error {
		now = now.Add(time.Hour)
		var op loroindex.Op
		if err := x.Update(change, func(o loroindex.Op) { op = o }); err != nil {
			return err
		}
		_, err := x.Publish(ctx, b, op.Span)
		return err
	}

	anna, err := device("anna", 0xa)
	if err != nil {
		return err
	}
	key, err1 := put("Host *\n")
	old, err2 := put("old notes\n")
	// A large file in two pieces with a hole between.
	piece, err3 := put(strings.Repeat("x", 1000))
	list := manifest.List{{Length: 1000, Object: piece.Object}, {Length: 1 << 20}, {Length: 500, Object: piece.Object, Offset: 500}}
	body, err4 := list.Encode()
	large, err5 := put(string(body))
	large.Size, large.Manifest = list.Size(), true
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	var notes, docs loroindex.Node
	err = do(anna, func(tx *loroindex.Tx) (err error) {
		if docs, err = tx.Create(loroindex.Root, "docs", dir, loroindex.Content{}); err != nil {
			return err
		}
		if notes, err = tx.Create(docs, "notes.txt", file, old); err != nil {
			return err
		}
		secret := file
		secret.Mode, secret.Attributes = 0o600, 0x22
		_, err = tx.Create(loroindex.Root, "config", secret, key)
		return err
	})
	if err != nil {
		return err
	}
	if err := do(anna, func(tx *loroindex.Tx) error {
		n, err := tx.Create(loroindex.Root, "gone", file, loroindex.Content{})
		if err != nil {
			return err
		}
		return tx.Remove(n)
	}); err != nil {
		return err
	}
	if _, _, err := anna.PublishSnapshot(ctx, b, nil); err != nil {
		return err
	}
	bert, err := device("bert\x1b[31m", 0xb)
	if err != nil {
		return err
	}
	if err := do(bert, func(tx *loroindex.Tx) error {
		docs, err := tx.Lookup(loroindex.Root, "docs")
		if err != nil {
			return err
		}
		if _, err := tx.Create(docs.Node, "big.bin", file, large); err != nil {
			return err
		}
		link := file
		link.Kind, link.Mode, link.Target = loroindex.Symlink, 0o777, "docs/big.bin"
		_, err = tx.Create(loroindex.Root, "latest", link, loroindex.Content{Size: 12, ModTime: now.UnixMicro()})
		return err
	}); err != nil {
		return err
	}
	fresh, err := put("new notes\n")
	if err != nil {
		return err
	}
	if _, err := anna.Pull(ctx, b, nil); err != nil {
		return err
	}
	return do(anna, func(tx *loroindex.Tx) error { return tx.SetContent(notes, fresh) })
}

// age DIR DURATION makes everything in a folder older.
func age(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[1])
	ts.Check(err)
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		t := info.ModTime().Add(-d)
		return os.Chtimes(path, t, t)
	}))
}

// damage HOW STORE PREFIX changes the first object below a key's prefix: cut takes its
// second half away, flip changes a bit, delete deletes it. It sets KEY to its key.
func damage(ts *testscript.TestScript, _ bool, args []string) {
	ctx, store := context.Background(), openTestStore(ts, args[1])
	for info, err := range store.List(ctx, args[2], "") {
		ts.Check(err)
		body, err := store.Get(ctx, info.Key, 1<<20)
		ts.Check(err)
		switch args[0] {
		case "cut":
			body = body[:len(body)/2]
		case "flip":
			body[len(body)/2] ^= 1
		case "delete":
			ts.Check(store.Delete(ctx, info.Key))
		default:
			ts.Fatalf("damage %s: not known", args[0])
		}
		if args[0] != "delete" {
			ts.Check(store.Put(ctx, info.Key, body))
		}
		ts.Setenv("KEY", info.Key)
		return
	}
	ts.Fatalf("no object below %s", args[2])
}

// expand FROM TO copies a file with the script's variables put in.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// snapshot STORE FILE copies the head's snapshot to a file.
func snapshot(ts *testscript.TestScript, _ bool, args []string) {
	ctx, store := context.Background(), openTestStore(ts, args[0])
	head, err := store.Get(ctx, loroindex.HeadKey, 64)
	ts.Check(err)
	body, err := store.Get(ctx, loroindex.ObjectPrefix+string(head), 1<<20)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), body, 0o600))
}

// mkblob KIND FILE writes a Loro snapshot that is foreign, of a newer schema, or of a file
// with a long name beside one with a short one. A name that
// ends in a slash is a store, which gets it as its head's.
func mkblob(ts *testscript.TestScript, _ bool, args []string) {
	doc := loro.NewDoc(1)
	switch args[0] {
	case "foreign":
		ts.Check(doc.Map("settings").Set("colour", loro.String("blue")))
	case "newer":
		ts.Check(doc.Map("pocket").Set("schema", loro.Int(3)))
	case "long":
		ts.Check(doc.Map("pocket").Set("schema", loro.Int(2)))
		for _, name := range []string{"a", strings.Repeat("b", 200)} {
			id, err := doc.Tree("files").Create(loro.TreeRoot)
			ts.Check(err)
			ts.Check(doc.Tree("files").Meta(id).Set("name", loro.String(name)))
		}
	default:
		ts.Fatalf("mkblob %s: not known", args[0])
	}
	body, err := doc.ExportSnapshot()
	ts.Check(err)
	name := ts.MkAbs(args[1])
	if strings.HasSuffix(args[1], "/") { // a store: as its head
		store, ctx := openTestStore(ts, strings.TrimSuffix(args[1], "/")), context.Background()
		id := objectid.Of(body)
		ts.Check(store.Put(ctx, loroindex.ObjectKey(id), body))
		ts.Check(store.Put(ctx, loroindex.HeadKey, []byte(id.String())))
		return
	}
	ts.Check(os.WriteFile(name, body, 0o600))
}

// same NAME DIR compares a folder with what it was when it was first called with NAME:
// names, sizes and times of all files.
func same(ts *testscript.TestScript, neg bool, args []string) {
	var now strings.Builder
	ts.Check(filepath.WalkDir(ts.MkAbs(args[1]), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && !e.IsDir() {
			body, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintln(&now, path, info.ModTime(), objectid.Of(body))
		}
		return err
	}))
	was := ts.Getenv("SAME_" + args[0])
	if was == "" {
		ts.Setenv("SAME_"+args[0], now.String())
		return
	}
	if (was == now.String()) == neg {
		ts.Fatalf("before:\n%s\nnow:\n%s", was, now.String())
	}
}

// testEnv is an environment without a configuration.
func testEnv(t *testing.T) config.Env {
	env := config.OSEnv()
	env.Dir, env.Home = t.TempDir(), t.TempDir()
	env.LookupEnv = func(string) (string, bool) { return "", false }
	return env
}

// Whatever bytes a file holds, dump says in one line what it thinks of them.
func TestDumpOfAnyBytesIsOneLine(t *testing.T) {
	dir := t.TempDir()
	store, err := dirstore.Open(filepath.Join(dir, "s"), true)
	require.NoError(t, err)
	require.NoError(t, fillStore(store))
	var blobs [][]byte
	for _, prefix := range []string{loroindex.ObjectPrefix, loroindex.UpdatePrefix} {
		for info, err := range store.List(context.Background(), prefix, "") {
			require.NoError(t, err)
			body, err := store.Get(context.Background(), info.Key, 1<<20)
			require.NoError(t, err)
			blobs = append(blobs, body)
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	name := filepath.Join(dir, "blob")
	env := testEnv(t)
	for range 300 {
		body := bytes.Clone(blobs[rng.IntN(len(blobs))])
		switch rng.IntN(3) {
		case 0:
			body = body[:rng.IntN(len(body))]
		case 1:
			// The bytes before 16 are not covered by the checksum, nor do they mean anything.
			body[16+rng.IntN(len(body)-16)] ^= byte(1 + rng.IntN(255))
		case 2:
			body = append(body, byte(rng.Int()))
		}
		require.NoError(t, os.WriteFile(name, body, 0o600))
		var out, errs bytes.Buffer
		require.Equal(t, exitFailed, run([]string{"dump", name}, &out, &errs, env))
		require.Empty(t, out.String())
		require.Equal(t, 1, strings.Count(errs.String(), "\n"), errs.String())
		require.Contains(t, errs.String(), name+": ")
	}
}

func TestKeepIsAnAge(t *testing.T) {
	for s, want := range map[string]time.Duration{"90d": 90 * day, "0d": 0, "26w": 26 * 7 * day, "2y": 730 * day, "200y": 200 * 365 * day} {
		keep, trim, err := parseKeep(s)
		require.NoError(t, err, s)
		require.True(t, trim)
		require.Equal(t, want, keep)
	}
	_, trim, err := parseKeep("all")
	require.NoError(t, err)
	require.False(t, trim)
	for _, s := range []string{"", "d", "90", "-1d", "1.5d", "90 d", "201y", "99999999999999999999d", "ALL", "1m"} {
		_, _, err := parseKeep(s)
		require.Error(t, err, s)
	}
}

func TestAttributesAreLetters(t *testing.T) {
	for bits, want := range map[uint32]string{0: "-", 1: "R", 0x22: "AH", 0x27: "ASHR", 0x2000: "0x2000", 0x2020: "A+0x2000"} {
		require.Equal(t, want, attributes(bits))
	}
}
