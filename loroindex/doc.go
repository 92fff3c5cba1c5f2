// Package loroindex keeps a mount's file tree as a Loro document: names,
// attributes and which object holds a file's content, not the content itself.
//
// An [Index] is a document and a view of it in memory. The view answers
// [Index.Lookup], [Index.Stat] and [Index.ReadDir] without touching the network
// or the disk; [Index.Update] changes document and view together and hands the
// operations of the change, as bytes, to a callback that journals them;
// [Index.Import] merges what other devices wrote. Devices that have imported the
// same operations, in whatever order, show the same tree.
//
// [Load] opens the index of a bucket, [Index.Publish] and
// [Index.PublishSnapshot] write to it, [Index.Pull] follows it. The bucket is
// reached through [Bucket], declared here.
//
// The document's shape and the keys in the bucket are specified in
// docs/format.md, "Index document" and "Keys".
//
// # What the view shows
//
// Devices that do not know of each other can give one name to two nodes of a
// directory. Of nodes with one name the first in Loro's sibling order keeps it;
// the others are shown as "name (conflict <device> <time>).ext" after the device
// and the time of their creation. Directories are not renamed but merged: those
// of one name show the union of their entries, under the node of the first. A
// name no file system can hold is shown as a safe one. All of this depends on
// the document alone, so every device shows the same.
//
// Directories are read from the document when they are first looked into:
// opening an index of a million files costs no more than opening its document.
// [Index.LoadAll] reads the rest.
package loroindex
