package loro_test

import (
	"fmt"
	"log"

	"github.com/hamflx/pocket/loroindex/loro"
)

// Two replicas edit a tree of files without knowing of each other, then
// exchange their updates and show the same.
func Example() {
	laptop, desktop := loro.NewDoc(loro.RandomPeer()), loro.NewDoc(loro.RandomPeer())

	files := laptop.Tree("files")
	docs, err := files.Create(loro.TreeRoot)
	if err != nil {
		log.Fatal(err)
	}
	if err := files.Meta(docs).Set("name", loro.String("docs")); err != nil {
		log.Fatal(err)
	}
	laptop.Commit()
	sync(laptop, desktop)

	// The laptop renames the directory, the desktop makes a file in it.
	files.Meta(docs).Set("name", loro.String("papers"))
	laptop.Commit()
	note, _ := desktop.Tree("files").Create(docs)
	desktop.Tree("files").Meta(note).Set("name", loro.String("note.txt"))
	desktop.Commit()
	sync(laptop, desktop)
	sync(desktop, laptop)

	for _, d := range []*loro.Doc{laptop, desktop} {
		for node := range d.Tree("files").Nodes() {
			name, _ := d.Tree("files").Meta(node).Get("name")
			fmt.Println(name)
		}
	}
	// Output:
	// "papers"
	// "note.txt"
	// "papers"
	// "note.txt"
}

// sync gives to what from has and it lacks.
func sync(from, to *loro.Doc) {
	updates, err := from.ExportUpdates(to.Version())
	if err != nil {
		log.Fatal(err)
	}
	if _, err := to.Import(updates); err != nil {
		log.Fatal(err)
	}
}

func ExampleDoc_Import() {
	d := loro.NewDoc(1)
	d.Map("settings").Set("theme", loro.String("dark"))
	d.Commit()
	d.Map("settings").Set("theme", loro.String("light"))
	d.Commit()
	first, _ := d.ExportRange(loro.IDSpan{Peer: 1, Start: 0, End: 1})
	second, _ := d.ExportRange(loro.IDSpan{Peer: 1, Start: 1, End: 2})

	// Changes that arrive too early wait for what they depend on.
	e := loro.NewDoc(2)
	status, err := e.Import(second)
	fmt.Println(status.Applied, status.Pending, err)
	status, err = e.Import(first)
	fmt.Println(status.Applied, status.Touched.Maps, err)
	// Output:
	// map[] map[1:{1 2}] <nil>
	// map[1:{0 2}] [settings] <nil>
}

func ExampleDoc_ExportShallow() {
	d := loro.NewDoc(1)
	for i := range int64(1000) {
		d.Map("counter").Set("n", loro.Int(i))
	}
	d.Commit()
	full, _ := d.ExportSnapshot()
	shallow, err := d.ExportShallow(d.Frontiers())
	fmt.Println(len(shallow) < len(full)/10, err)

	e := loro.NewDoc(2)
	_, err = e.Import(shallow)
	n, _ := e.Map("counter").Get("n")
	fmt.Println(n, e.IsShallow(), err)
	// Output:
	// true <nil>
	// 999 true <nil>
}

func ExampleMap_Raw() {
	d := loro.NewDoc(1)
	d.Map("m").Set("content", loro.MapValue(
		loro.Entry{Key: "size", Value: loro.Int(4096)},
		loro.Entry{Key: "mtime", Value: loro.Int(1700000000000000)},
	))
	content, _ := d.Map("m").Raw("content")
	for key, v := range content.Entries() {
		n, _ := v.Int()
		fmt.Println(key, n)
	}
	// Output:
	// mtime 1700000000000000
	// size 4096
}

func ExamplePeek() {
	d := loro.NewDoc(1)
	d.Map("m").Set("a", loro.Int(1))
	d.Map("m").Set("b", loro.Int(2))
	d.Commit()
	blob, _ := d.ExportUpdates(nil)
	meta, err := loro.Peek(blob)
	fmt.Println(meta.Mode == loro.ModeUpdates, meta.Start, meta.End, err)
	// Output:
	// true map[1:0] map[1:2] <nil>
}
