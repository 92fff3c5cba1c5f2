// Writes documents as the first Pocket (Rust, hamflx/pocket) kept its index, with the
// official library, and what they hold as JSON. The first Pocket used the same library.
//
//   npm install loro-crdt@1.10.3 && node generate.mjs DIR
//
// The blobs beside this script were made once; peers and times are fixed, so a
// second run gives documents of the same content.
import fs from 'fs';
import path from 'path';
import { LoroDoc, LoroMap } from 'loro-crdt';

const out = process.argv[2] ?? '.';
// FILETIME of 2024-03-01 00:00:00 UTC, and steps that a double holds exactly.
const base = 133537248000000000, second = 10000000;
let tick = 0;

function fields(dir, size, attributes, object, more = {}) {
  tick += 640;
  return {
    is_dir: dir, size, attributes,
    creation_time: base + tick, last_access_time: base + tick * 4,
    last_write_time: base + tick * 2, change_time: base + tick * 3,
    object_id: object, ...more,
  };
}
const dir = (attributes = 16) => fields(true, 0, attributes, null);
const hex = n => n.toString(16).padStart(2, '0').repeat(32);
let objects = 0;
const file = (size, attributes = 32) => fields(false, size, attributes, size ? hex(++objects) : null);

function put(doc, key, f) {
  const m = doc.getMap('entries').getOrCreateContainer(key, new LoroMap());
  for (const k of Object.keys(f)) m.set(k, f[k]);
}

function doc(peer) {
  const d = new LoroDoc();
  d.setPeerId(peer);
  return d;
}

function write(name, d) {
  d.commit();
  fs.writeFileSync(path.join(out, name + '.loro'), d.export({ mode: 'snapshot' }));
  fs.writeFileSync(path.join(out, name + '.json'), JSON.stringify(d.toJSON().entries ?? {}, null, 1) + '\n');
}

// A home directory with a history: created, written, renamed, deleted.
{
  const d = doc('1001');
  put(d, '\\', dir());
  for (const p of ['\\.ssh', '\\docs', '\\docs\\2024', '\\docs\\leer', '\\日本語']) put(d, p, dir());
  put(d, '\\.ssh\\id_ed25519', file(411, 0x21)); // read-only, archive
  put(d, '\\.ssh\\config', file(0));
  put(d, '\\docs\\2024\\report final.txt', file(5 * 2 ** 32));
  put(d, '\\docs\\Ärger.md', file(77, 0x22));
  put(d, '\\docs.txt', file(1)); // sorts between \docs and what is in it
  put(d, '\\日本語\\🙂.png', file(12345));
  put(d, '\\desktop.ini', file(9, 0x26));
  d.commit({ timestamp: 1709251200 });
  put(d, '\\old name', file(3));
  d.commit({ timestamp: 1709251300 });
  const e = d.getMap('entries');
  put(d, '\\new name', e.get('\\old name').toJSON());
  e.delete('\\old name');
  put(d, '\\docs\\Ärger.md', { size: 78, last_write_time: base + 3600 * second, object_id: hex(0xee) });
  put(d, '\\gone', file(4));
  e.delete('\\gone');
  write('home', d);
}

// Two machines that wrote at once, and merged.
{
  const a = doc('2001'), b = doc('2002');
  put(a, '\\', dir());
  put(a, '\\shared', dir());
  a.commit();
  b.import(a.export({ mode: 'snapshot' }));
  put(a, '\\shared\\from a', file(10));
  put(a, '\\shared\\both', file(11));
  put(b, '\\shared\\from b', file(12));
  put(b, '\\shared\\both', file(13));
  a.commit(); b.commit();
  a.import(b.export({ mode: 'update' }));
  write('merged', a);
}

// What concurrent renames and deletes left behind, and what nobody should have written.
{
  const d = doc('3001');
  put(d, '\\lost\\deep\\er\\file', file(20));
  put(d, '\\lost\\note', file(21));
  put(d, '\\f', file(22));
  put(d, '\\f\\below it', file(23));
  put(d, '\\d', dir());
  put(d, '\\d\\', dir()); // the same path twice
  put(d, 'no backslash', file(24));
  put(d, '\\a/b', file(25));
  put(d, '\\..\\up', file(26));
  put(d, '\\' + 'n'.repeat(300), file(27));
  put(d, '\\no fields', {});
  put(d, '\\odd', { is_dir: false, size: -1, attributes: 'x', creation_time: null, last_write_time: 1.5, object_id: 'zz' });
  put(d, '\\short id', fields(false, 5, 32, 'abcd'));
  put(d, '\\before 1970', fields(false, 1, 32, hex(0xaa), { creation_time: 116444735999999990, last_write_time: 116444736000000000 - 10 * second, change_time: 0 }));
  d.getMap('entries').set('\\not a map', 'text');
  d.getMap('entries').set('\\inline', { is_dir: true });
  write('odd', d);
}
