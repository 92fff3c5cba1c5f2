// Measures the official library on the documents bench -write makes, the same
// tasks as bench/measure.go.
//
//   node --expose-gc bench.mjs prepare DIR VERSION
//   node --expose-gc bench.mjs measure DIR VERSION REPEAT
import fs from 'node:fs';
import path from 'node:path';
import { load } from './oracle.mjs';

const [what, dir, version, repeat] = process.argv.slice(2);
const L = load(version);
const read = (name) => fs.readFileSync(path.join(dir, name));

// prepare writes the snapshot that is read by both.
function prepare() {
  const doc = new L.LoroDoc();
  doc.import(read('files-100k.updates'));
  fs.writeFileSync(path.join(dir, 'files-100k.snapshot'), doc.export({ mode: 'snapshot' }));
}

// list counts the characters of the names at the top.
function list(doc) {
  let seen = 0;
  for (const node of doc.getTree('files').roots()) seen += node.data.get('name').length;
  return seen;
}

const listing = (name) => () => {
  const blob = read(name);
  const doc = new L.LoroDoc();
  return { doc, timed: () => { doc.import(blob); return list(doc); } };
};

const merge = () => {
  const doc = new L.LoroDoc();
  doc.import(read('moves-base.updates'));
  doc.import(read('moves-a.updates'));
  list(doc);
  const other = read('moves-b.updates');
  return { doc, timed: () => { doc.import(other); return list(doc); } };
};

const exportAfterEdit = (options) => () => {
  const doc = new L.LoroDoc();
  doc.setPeerId('3001');
  doc.import(read('files-100k.snapshot'));
  const before = doc.oplogVersion();
  doc.getTree('files').roots()[0].data.set('name', 'renamed');
  doc.commit();
  return { doc, timed: () => doc.export(options(before)).length };
};

const tasks = {
  'snapshot of 100k files to first listing': listing('files-100k.snapshot'),
  'update of 10k files to first listing': listing('files-10k.updates'),
  'update of 100k files to first listing': listing('files-100k.updates'),
  'merge of 10k concurrent moves': merge,
  'update after one edit of 100k files': exportAfterEdit((from) => ({ mode: 'update', from })),
  'snapshot after one edit of 100k files': exportAfterEdit(() => ({ mode: 'snapshot' })),
};

function measure() {
  const results = {};
  for (const [name, setUp] of Object.entries(tasks)) {
    const ms = [];
    let seen;
    for (let i = 0; i < Number(repeat); i++) {
      const { doc, timed } = setUp();
      globalThis.gc();
      const start = performance.now();
      seen = timed();
      ms.push(performance.now() - start);
      doc.free();
    }
    results[name] = { ms, seen };
  }
  console.log(JSON.stringify(results));
}

if (what === 'prepare') prepare();
else measure();
