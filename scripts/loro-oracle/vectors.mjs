// Has the official library make documents of the kinds other writers make and this
// project does not, for TestVectors of loroindex/loro to read.
//
//   node vectors.mjs DIR [--seed N] [--only FAMILY,…]
//   LORO_VECTORS=DIR go test ./loroindex/loro -run TestVectors
//
// DIR gets manifest.json in the form that loroindex/loro/testdata/README.md
// describes. Containers that are neither map nor tree count as null in the state.
// Every family is made by both versions; what a document shows after each import
// is what 1.17.1 says.
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { parseArgs } from 'node:util';
import * as oracle from './oracle.mjs';
import { Random, randomEdits } from './edits.mjs';

const reference = '1.17.1';
const { values: options, positionals: [dir] } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string', default: '1' }, only: { type: 'string' } },
});
if (!dir) {
  console.error('usage: node vectors.mjs DIR [--seed N] [--only FAMILY,…]');
  process.exit(2);
}
fs.mkdirSync(path.join(dir, 'blobs'), { recursive: true });
fs.mkdirSync(path.join(dir, 'expect'), { recursive: true });

const update = (doc, from) => doc.export(from ? { mode: 'update', from } : { mode: 'update' });
const snapshot = (doc) => doc.export({ mode: 'snapshot' });
const shallow = (doc, frontiers) => doc.export({ mode: 'shallow-snapshot', frontiers });
const peerOf = (r) => ((BigInt(r.next()) << 32n) | BigInt(r.next())).toString();

// Family makes the vectors of one kind with one version of the library.
class Family {
  constructor(name, version, seed) {
    Object.assign(this, { name, version, L: oracle.load(version), r: new Random(seed), made: [] });
    this.clock = 1_700_000_000;
  }

  fresh(peer = peerOf(this.r)) {
    const doc = new this.L.LoroDoc();
    doc.setPeerId(peer);
    return doc;
  }

  commit(doc, options = {}) {
    this.clock += this.r.below(2000);
    doc.commit({ timestamp: this.clock, ...options });
  }

  edit(doc, count, other = false) {
    this.clock += this.r.below(2000);
    randomEdits(this.L, doc, { seed: this.r.next(), count, time: this.clock, other });
  }

  // exchange merges what one document has into another.
  exchange(from, to) {
    to.import(update(from, to.oplogVersion()));
  }

  // session has several peers edit at once and returns their documents and the
  // updates they sent.
  session(peers, rounds, edit) {
    const docs = peers.map((peer) => this.fresh(peer));
    const sent = [];
    const last = docs.map(() => undefined);
    const send = (i) => {
      const blob = update(docs[i], last[i]);
      if (blob.length > 22) sent.push(blob);
      last[i] = docs[i].oplogVersion();
    };
    for (let round = 0; round < rounds; round++) {
      docs.forEach((doc, i) => { edit(doc, i); this.commit(doc); });
      if (docs.length > 1 && this.r.chance(0.6)) {
        const from = this.r.below(docs.length);
        const to = (from + 1 + this.r.below(docs.length - 1)) % docs.length;
        send(from);
        this.exchange(docs[from], docs[to]);
      }
    }
    docs.forEach((_, i) => send(i));
    for (const from of docs) for (const to of docs) if (from !== to) this.exchange(from, to);
    return { docs, sent };
  }

  shuffled(list) {
    const out = [...list];
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.r.below(i + 1);
      [out[i], out[j]] = [out[j], out[i]];
    }
    return out;
  }

  // pieces cuts the history of a document anywhere, also within its changes.
  pieces(doc, most) {
    const out = [];
    for (const [peer, end] of doc.oplogVersion().toJSON()) {
      for (let at = 0; at < end;) {
        const len = Math.min(end - at, 1 + this.r.below(most));
        out.push(doc.export({ mode: 'updates-in-range', spans: [{ id: { peer, counter: at }, len }] }));
        at += len;
      }
    }
    return out;
  }

  // cut is a version before that of the document, often within a change.
  cut(doc) {
    const ends = {};
    for (const [peer, end] of doc.oplogVersion().toJSON()) {
      if (this.r.chance(0.9)) ends[peer] = this.r.below(end + 1);
    }
    return oracle.versionOf(this.L, ends);
  }

  // add writes a vector: blobs to be imported in order into one document.
  add(name, ...blobs) { this.made.push({ name, blobs }); }

  // forms adds a document in every form it can be exported.
  forms(name, doc) {
    this.add(`${name}-snapshot`, snapshot(doc));
    this.add(`${name}-update`, update(doc));
    this.add(`${name}-shallow`, shallow(doc, doc.frontiers()));
    const before = this.cut(doc);
    this.add(`${name}-cut`, update(doc, before), snapshot(doc));
    this.add(`${name}-pieces`, ...this.shuffled(this.pieces(doc, 40)).slice(0, 60), update(doc));
  }
}

// walk returns all containers below a map, itself included.
function maps(L, map, depth = 0) {
  const out = [map];
  for (const key of map.keys().sort(oracle.byBytes)) {
    const child = map.get(key);
    if (child instanceof L.LoroMap && depth < 40) out.push(...maps(L, child, depth + 1));
    if (child instanceof L.LoroTree) for (const node of child.getNodes({ withDeleted: false })) out.push(node.data);
  }
  return out;
}

// nest edits maps in maps in lists, trees in maps and maps in trees.
function nest(f, doc) {
  const { L, r } = f;
  const map = r.pick(maps(L, doc.getMap('m')));
  const key = r.key();
  switch (r.below(9)) {
    case 0: case 1: map.setContainer(key, new L.LoroMap()).set(r.key(), r.value()); break;
    case 2: {
      const tree = map.setContainer(key, new L.LoroTree());
      const node = tree.createNode();
      node.data.setContainer('inner', new L.LoroTree()).createNode(undefined).data.set('x', r.value());
      node.createNode().data.setContainer('map', new L.LoroMap()).set('y', r.value());
      break;
    }
    case 3: map.setContainer(key, new L.LoroList()).insertContainer(0, new L.LoroMap()).setContainer('in list', new L.LoroMap()).set('z', 1); break;
    case 4: map.setContainer(key, new L.LoroText()).insert(0, 'tëxt🙂'); break;
    case 5: map.setContainer(key, new L.LoroMovableList()).pushContainer(new L.LoroTree()).createNode().data.set('m', 2); break;
    case 6: if (map.get(key) !== undefined) map.delete(key); break;
    default: map.set(key, r.value());
  }
}

// place moves nodes among their siblings, with positions that are long or equal or,
// with jitter, random. Moving before or after a named sibling crashes both versions
// now and then.
function place(f, doc) {
  const { r } = f;
  const tree = doc.getTree(r.pick(['a', 'b', 'c']));
  tree.enableFractionalIndex(f.jitter);
  const live = tree.getNodes({ withDeleted: false }).map((node) => node.id).sort(oracle.byBytes);
  try {
    if (live.length < 4 || r.chance(0.4)) {
      const parent = live.length > 0 && r.chance(0.5) ? r.pick(live) : undefined;
      tree.createNode(parent, r.chance(0.5) ? 0 : undefined).data.set('n', r.value());
    } else if (r.chance(0.15)) {
      tree.delete(r.pick(live));
    } else {
      tree.move(r.pick(live), r.chance(0.2) ? undefined : r.pick(live), r.chance(0.5) ? 0 : undefined);
    }
  } catch (err) {
    if (oracle.trapped(err)) throw err; // or a cycle, which is refused
  }
}

// lists edits text with marks, lists, movable lists and counters, many at a time.
function lists(f, doc) {
  const { L, r } = f;
  const text = doc.getText('text');
  const list = doc.getList('list');
  const movable = doc.getMovableList('movable');
  switch (r.below(9)) {
    case 0: text.insert(r.below(text.length + 1), r.pick(['several words ', '日本語', 'né', 'n'])); break;
    case 1: if (text.length > 6) text.delete(r.below(text.length - 5), 1 + r.below(5)); break;
    case 2:
      if (text.length > 6) {
        const range = { start: r.below(3), end: 4 + r.below(text.length - 4) };
        if (r.chance(0.7)) text.mark(range, r.pick(['bold', 'link']), r.pick([true, 'http://x', 3]));
        else text.unmark(range, 'bold');
      }
      break;
    case 3: for (let i = r.below(6); i > 0; i--) list.insert(r.below(list.length + 1), r.value()); break;
    case 4: if (list.length > 4) list.delete(r.below(list.length - 3), 1 + r.below(3)); break;
    case 5: for (let i = r.below(6); i > 0; i--) movable.insert(r.below(movable.length + 1), r.value()); break;
    case 6:
      if (movable.length > 4) {
        movable.move(r.below(movable.length), r.below(movable.length));
        movable.set(r.below(movable.length), r.value());
        movable.delete(r.below(movable.length - 2), 2);
      }
      break;
    case 7: doc.getCounter('counter').increment(r.pick([1, -3, 0.25, 1e9])); break;
    default: list.insertContainer(0, new L.LoroMap()).set(r.key(), r.value());
  }
  if (r.chance(0.5)) doc.getMap('m').set(r.key(), r.value());
  if (r.chance(0.3)) doc.getTree('files').createNode().data.set('n', r.value());
}

const families = {
  nested(f) {
    for (let i = 0; i < 3; i++) {
      const { docs, sent } = f.session([peerOf(f.r), peerOf(f.r), '0'].slice(0, 1 + i), 40, (doc) => { for (let k = f.r.below(4); k >= 0; k--) nest(f, doc); });
      f.forms(`${i}`, docs[0]);
      f.add(`${i}-sent`, ...f.shuffled(sent));
    }
    const deep = f.fresh();
    let map = deep.getMap('deep');
    for (let i = 0; i < 100; i++) map = map.setContainer('d', new f.L.LoroMap());
    map.set('end', 1);
    let value = 1;
    for (let i = 0; i < 100; i++) value = i % 2 ? [value] : { v: value };
    deep.getMap('deep').set('value', value);
    f.commit(deep);
    f.forms('deep', deep);
  },

  positions(f) {
    for (let i = 0; i < 3; i++) {
      f.jitter = i;
      const peers = [peerOf(f.r), peerOf(f.r), peerOf(f.r)].slice(0, i === 2 ? 1 : 3);
      const { docs, sent } = f.session(peers, 25, (doc) => { for (let k = f.r.below(5); k >= 0; k--) place(f, doc); });
      f.forms(`${i}`, docs.at(-1));
      f.add(`${i}-sent`, ...f.shuffled(sent));
      f.add(`${i}-sent-backwards`, ...sent.reverse(), ...sent.slice(0, 3));
    }
    const long = f.fresh();
    const tree = long.getTree('a');
    tree.enableFractionalIndex(0);
    for (let i = 0; i < 400; i++) tree.createNode(undefined, i % 3 ? 0 : undefined);
    f.commit(long);
    f.forms('long', long);
  },

  others(f) {
    for (let i = 0; i < 3; i++) {
      const { docs, sent } = f.session([peerOf(f.r), peerOf(f.r)].slice(0, 1 + (i > 0)), 30, (doc) => { for (let k = f.r.below(4); k >= 0; k--) lists(f, doc); });
      f.forms(`${i}`, docs[0]);
      f.add(`${i}-sent`, ...f.shuffled(sent));
      const base = snapshot(docs[0]);
      const before = docs[0].oplogVersion();
      for (let k = 0; k < 20; k++) lists(f, docs[0]);
      f.commit(docs[0]);
      f.add(`${i}-on-snapshot`, base, update(docs[0], before), update(docs[0], f.cut(docs[0])));
    }
  },

  time(f) { // what undo, checkouts, forks and reverts leave in a history
    const doc = f.fresh();
    const undo = new f.L.UndoManager(doc, { mergeInterval: 0 });
    const other = f.fresh();
    const forks = [];
    const seen = [];
    for (let i = 0; i < 40; i++) {
      f.edit(doc, 1 + f.r.below(6));
      seen.push(doc.frontiers());
      const what = f.r.below(8);
      if (what === 0) for (let k = f.r.below(4); k >= 0; k--) undo.undo();
      if (what === 1) undo.redo();
      if (what === 2) { f.edit(other, 4); f.exchange(other, doc); }
      if (what === 3) f.exchange(doc, other);
      if (what === 4) {
        const fork = f.r.chance(0.5) ? doc.fork() : doc.forkAt(f.r.pick(seen));
        fork.setPeerId(peerOf(f.r));
        f.edit(fork, 5);
        forks.push(fork);
      }
      if (what === 5 && doc.revertTo) { doc.revertTo(f.r.pick(seen)); f.commit(doc); }
      if (what === 6) {
        doc.setDetachedEditing(true);
        doc.checkout(f.r.pick(seen));
        f.edit(doc, 3);
        doc.checkoutToLatest();
        doc.setDetachedEditing(false);
      }
      if (what === 7 && forks.length > 0) f.exchange(f.r.pick(forks), doc);
    }
    const batch = f.fresh();
    batch.importBatch(f.shuffled([update(doc), ...forks.map((fork) => update(fork)), update(other)]));
    f.edit(batch, 5);
    f.forms('all', batch);
    f.forms('one', doc);
    f.add('forks', ...f.shuffled(forks.map((fork) => update(fork))).slice(0, 20), snapshot(batch));
  },

  peers(f) { // many writers, each of a few operations
    const edge = ['0', '1', '18446744073709551614', '9223372036854775808', '9223372036854775807', '4294967296'];
    const ids = [...edge, ...Array.from({ length: 294 }, () => peerOf(f.r))];
    const base = f.fresh('77');
    f.edit(base, 60);
    const first = update(base);
    const docs = ids.map((peer, i) => {
      const doc = f.fresh(peer);
      doc.import(i % 3 === 2 ? update(base) : first);
      f.edit(doc, 1 + f.r.below(4));
      if (i % 3 === 1) f.exchange(doc, base);
      return doc;
    });
    const sent = docs.map((doc) => update(doc, base.oplogVersion())).filter((blob) => blob.length > 22);
    const all = f.fresh();
    for (const doc of [base, ...docs]) f.exchange(doc, all);
    f.add('heads-snapshot', snapshot(all));
    f.add('heads-update', update(all));
    f.add('sent', ...f.shuffled(sent).slice(0, 100), update(all));
    f.edit(all, 5);
    f.forms('merged', all);
  },

  values(f) {
    const doc = f.fresh('0');
    const map = doc.getMap('m');
    const numbers = [0, -0, 1, -1, 63, 64, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 53, 2 ** 53 - 1, -(2 ** 53), 2 ** 62, -(2 ** 63), 1e300, 5e-324,
      Number.MAX_VALUE, Number.EPSILON, NaN, Infinity, -Infinity, 0.1, 1 / 3];
    numbers.forEach((x, i) => map.set(`n${i}`, x));
    map.set('numbers', numbers);
    for (const key of ['', ' ', '\u0000', 'k'.repeat(5000), '🙂'.repeat(300), '__proto_', 'constructor', '\uffff', '\u{10ffff}']) map.set(key, key.length);
    f.commit(doc, { message: 'm'.repeat(3000) });
    map.set('string', 'x'.repeat(200_000));
    map.set('binary', f.r.bytes(100_000));
    map.set('wide', Array.from({ length: 3000 }, (_, i) => i % 7));
    map.set('object', Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`key ${i}`, [i, null]])));
    f.commit(doc, { message: '🙂\u0000' });
    for (let i = 0; i < 300; i++) map.set(`many ${i}`, f.r.value());
    for (let i = 0; i < 150; i++) map.delete(`many ${i * 2}`);
    doc.commit();
    doc.commit({ message: 'of nothing' });
    doc.getMap('x'.repeat(1000)).set('root with a long name', true);
    doc.setNextCommitMessage?.('next');
    f.commit(doc);
    f.forms('extreme', doc);
  },

  long(f) { // many operations on few things
    const { docs, sent } = f.session([peerOf(f.r), peerOf(f.r)], 12, (doc) => {
      const map = doc.getMap('m');
      const tree = doc.getTree('files');
      tree.disableFractionalIndex();
      for (let i = 0; i < 800; i++) {
        const live = i % 40 === 0 ? tree.getNodes({ withDeleted: false }).map((node) => node.id) : doc.live;
        doc.live = live;
        if (live.length < 6) doc.live = [...live, tree.createNode().id];
        else if (f.r.chance(0.3)) map.set(f.r.key(), f.r.below(1e6));
        else {
          try {
            tree.move(f.r.pick(live), f.r.chance(0.3) ? undefined : f.r.pick(live));
          } catch (err) {
            if (oracle.trapped(err)) throw err;
          }
        }
      }
    });
    f.add('snapshot', snapshot(docs[0]));
    f.add('update', update(docs[0]));
    f.add('sent', ...f.shuffled(sent));
    f.add('cut', update(docs[0], f.cut(docs[0])), update(docs[0]));
    f.add('shallow', shallow(docs[0], docs[0].frontiers()));
  },

  shallow(f) { // but never into a document where changes wait: the versions differ, see Doc.Import
    for (let i = 0; i < 6; i++) {
      const doc = f.fresh();
      f.edit(doc, 40, i === 5);
      const stale = f.fresh();
      f.exchange(doc, stale);
      f.edit(doc, 10 + f.r.below(200), i === 5);
      const root = doc.frontiers();
      const old = f.r.chance(0.5) ? doc.oplogVersion() : f.cut(doc);
      const other = f.fresh();
      f.exchange(doc, other);
      const before = doc.oplogVersion();
      for (let k = 0; k < 3; k++) {
        f.edit(doc, 5 + f.r.below(k === i ? 400 : 30));
        f.edit(other, 5);
        if (f.r.chance(0.5)) f.exchange(other, doc);
      }
      f.edit(stale, 5);
      const blob = shallow(doc, root);
      f.add(`${i}`, blob);
      f.add(`${i}-then`, blob, update(other, before), update(stale, old), update(doc, old));
      f.add(`${i}-stale-first`, update(stale), blob);
      f.add(`${i}-into-history`, update(stale), blob, update(doc));
      const again = new f.L.LoroDoc();
      again.import(blob);
      again.setPeerId(peerOf(f.r));
      f.edit(again, 6);
      f.exchange(other, again);
      f.add(`${i}-again`, snapshot(again));
      f.add(`${i}-again-shallow`, shallow(again, again.frontiers()));
      f.add(`${i}-again-update`, blob, update(again, doc.oplogVersion()), update(again));
    }
  },

  rewritten(f) { // histories that went through JSON, and some of it blacked out
    const doc = f.fresh();
    for (let i = 0; i < 12; i++) f.edit(doc, 8);
    const json = doc.exportJsonUpdates(undefined, undefined, false);
    const copy = f.fresh();
    copy.importJsonUpdates(JSON.stringify(json));
    f.edit(copy, 4);
    f.forms('json', copy);
    const redacted = f.L.redactJsonUpdates?.(json, { [doc.peerIdStr]: [3, 40] });
    if (!redacted) return;
    const black = f.fresh();
    black.importJsonUpdates(JSON.stringify(redacted));
    f.edit(black, 4);
    f.forms('redacted', black);
  },
};

// stateOf is the deep value of a document in which containers that are neither map
// nor tree are null, or left out where they are roots.
function stateOf(L, doc) {
  const value = (v) => {
    if (v instanceof L.LoroMap) return mapOf(v);
    if (v instanceof L.LoroTree) return nodesOf(v.roots(), null);
    return v?.kind && v.id ? null : oracle.canonValue(v);
  };
  const mapOf = (map) => {
    const out = Object.create(null);
    for (const key of map.keys()) out[key] = value(map.get(key));
    return out;
  };
  const nodesOf = (nodes, parent) => (nodes ?? []).map((node, index) => ({
    children: nodesOf(node.children(), node.id), fractional_index: node.fractionalIndex(), id: node.id, index, meta: mapOf(node.data), parent,
  }));
  const out = Object.create(null);
  for (const [name, id] of Object.entries(doc.getShallowValue())) {
    const v = value(doc.getContainerById(id));
    if (v !== null && Object.keys(v).length > 0) out[name] = v;
  }
  return out;
}

// opsOf is the history, one entry an operation.
function opsOf(doc) {
  const ops = [];
  for (const change of doc.exportJsonUpdates(undefined, undefined, false).changes) {
    const [first, peer] = change.id.split('@');
    for (const op of change.ops) {
      const isFirst = op.counter === Number(first);
      ops.push({ peer: BigInt(peer),
        counter: op.counter,
        entry: {
          id: `${op.counter}@${peer}`,
          lamport: change.lamport + op.counter - Number(first),
          deps: isFirst ? [...(change.deps ?? [])].sort(oracle.byBytes) : [`${op.counter - 1}@${peer}`],
          ts: change.timestamp,
          msg: change.msg || null,
          container: op.container,
          content: oracle.canonValue(op.content),
        } });
    }
  }
  ops.sort((a, b) => (a.peer === b.peer ? a.counter - b.counter : a.peer < b.peer ? -1 : 1));
  return ops.map((op) => op.entry);
}

// replay imports blobs one by one as the reference does, and says what it then has.
function replay(blobs) {
  const L = oracle.load(reference);
  const doc = new L.LoroDoc();
  const steps = blobs.map((blob) => {
    const step = { ok: true };
    try {
      const pending = [...(doc.import(blob).pending ?? [])];
      if (pending.length > 0) step.pending = Object.fromEntries(pending.map(([peer, span]) => [peer, [span.start, span.end]]));
    } catch (err) {
      if (oracle.trapped(err)) throw err;
      Object.assign(step, { ok: false, error: oracle.describe(err) });
    }
    step.vv = oracle.canonVersion(doc.oplogVersion());
    step.frontiers = oracle.canonIDs(doc.oplogFrontiers());
    step.stateSha = oracle.sum(oracle.stable(stateOf(L, doc)));
    return step;
  });
  return { L, doc, steps };
}

const manifest = { seed: Number(options.seed), vectors: [], hostile: [] };

function write(family, version, { name, blobs }) {
  const full = `${family}-${name}-v${version.replaceAll('.', '')}`;
  let result;
  try {
    result = replay(blobs);
  } catch (err) {
    console.log(`${full}: ${reference} fails itself: ${oracle.describe(err)}`);
    process.exitCode = 1;
    return;
  }
  const { L, doc, steps } = result;
  const state = stateOf(L, doc);
  let ops;
  try {
    ops = opsOf(doc);
  } catch (err) {
    if (oracle.trapped(err)) throw err; // JSON has no integers beyond 2^53
  }
  const file = `expect/${full}.json.gz`;
  fs.writeFileSync(path.join(dir, file), zlib.gzipSync(JSON.stringify({ state, ops })));
  const since = doc.isShallow() ? { vv: oracle.canonVersion(doc.shallowSinceVV()), frontiers: oracle.canonIDs(doc.shallowSinceFrontiers()) } : null;
  const imports = blobs.map((blob, i) => {
    fs.writeFileSync(path.join(dir, `blobs/${full}.${i}.bin`), blob);
    return { file: `blobs/${full}.${i}.bin`, after: steps[i] };
  });
  manifest.vectors.push({ name: full, family, ver: version, imports,
    expect: { file, stateSha: steps.at(-1).stateSha, opsSha: ops ? oracle.sum(oracle.stable(ops)) : null, shallowSince: since } });
  doc.free();
}

const chosen = options.only?.split(',') ?? Object.keys(families);
for (const version of Object.keys(oracle.VERSIONS)) {
  for (const [i, [name, make]] of Object.entries(families).entries()) {
    if (!chosen.includes(name)) continue;
    const f = new Family(name, version, Number(options.seed) * 1000 + i + (version === reference ? 500 : 0));
    make(f);
    f.made.forEach((vector) => write(name, version, vector));
  }
}
fs.writeFileSync(path.join(dir, 'manifest.json'), JSON.stringify(manifest));
console.log(`${manifest.vectors.length} vectors of seed ${options.seed}`);
