// Random edits of one document by the official library: what the Go package play
// does, and besides what this project never writes but must read: positions among
// siblings, and containers other than maps and trees.
import * as oracle from './oracle.mjs';

// Roots that hold other containers than maps and trees.
export const otherRoots = ['text', 'list', 'movable', 'counter'];

const strings = ['', 'a', 'né', '日本語', '🙂🙃', 'a\\b/c"d', '\u0000\u001f', '\u{10000}', '\ue000', 'line\n\ttab'];
const names = ['a', 'b', 'name', 'a long key', 'é', '日', '\u{10000}', '\ue000', '', '0'];

// Random is a small generator (mulberry32): what it gives follows from the seed.
export class Random {
  constructor(seed) {
    this.state = seed | 0;
  }

  next() {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let x = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return (x ^ (x >>> 14)) >>> 0;
  }

  below(n) { return this.next() % n; }

  chance(p) { return this.next() / 2 ** 32 < p; }

  pick(list) { return list[this.below(list.length)]; }

  key() { return this.pick(names) + this.below(4); }

  bytes(n) { return Uint8Array.from({ length: n }, () => this.below(256)); }

  value(depth = 0) {
    switch (this.below(depth > 2 ? 8 : 10)) {
      case 0: return null;
      case 1: return this.chance(0.5);
      case 2: return this.below(200) - 100;
      case 3: return (2 ** this.below(53) - this.below(3)) * (this.chance(0.5) ? 1 : -1);
      case 4: return this.below(100000) / 7;
      case 5: return this.pick(strings) + this.below(50);
      case 6: return this.bytes(this.below(40));
      case 7: return 'x'.repeat(this.below(300));
      case 8: return Array.from({ length: this.below(4) }, () => this.value(depth + 1));
      default: {
        const map = {};
        for (let i = this.below(4); i > 0; i--) map[this.key()] = this.value(depth + 1);
        return map;
      }
    }
  }
}

// randomEdits makes count edits and commits them at that time, with or without a
// message. other allows other containers.
export function randomEdits(L, doc, { seed, count, time, other }) {
  const r = new Random(seed);
  for (let i = 0; i < count; i++) {
    const what = r.below(other ? 24 : 20);
    if (what < 5) editMap(L, doc, r);
    else if (what < 16) editTree(L, doc, r, 'files');
    else if (what < 20) editTree(L, doc, r, 't');
    else editOther(doc, r);
  }
  doc.commit({ timestamp: time, ...(r.chance(0.3) ? { message: r.pick(['laptop', 'сервер', 'm']) } : {}) });
}

function editMap(L, doc, r) {
  let map = doc.getMap(r.pick(['m', 'pocket', 'карта']));
  for (let depth = 0; depth < 4 && r.chance(0.3); depth++) {
    const children = map.keys().sort(oracle.byBytes).map((k) => map.get(k)).filter((v) => v instanceof L.LoroMap);
    if (children.length === 0) break;
    map = r.pick(children);
  }
  editKey(L, map, r);
}

function editKey(L, map, r) {
  const trees = map.keys().sort(oracle.byBytes).map((k) => map.get(k)).filter((v) => v instanceof L.LoroTree);
  if (trees.length > 0 && r.chance(0.4)) {
    growTree(r.pick(trees), r);
    return;
  }
  const key = r.key();
  const what = r.below(20);
  if (what < 1) {
    growTree(map.setContainer(key, new L.LoroTree()), r);
  } else if (what < 4) {
    if (map.get(key) !== undefined) map.delete(key);
  } else if (what < 8) {
    const child = map.setContainer(key, new L.LoroMap());
    for (let i = r.below(3); i > 0; i--) child.set(r.key(), r.value());
  } else {
    map.set(key, r.value());
  }
}

// growTree edits a tree that is the value of a key.
function growTree(tree, r) {
  const live = tree.getNodes({ withDeleted: false }).map((node) => node.id).sort(oracle.byBytes);
  if (live.length > 2 && r.chance(0.3)) move(tree, r.pick(live), r.pick(live));
  else if (live.length > 2 && r.chance(0.2)) tree.delete(r.pick(live));
  else tree.createNode(live.length > 0 ? r.pick(live) : undefined).data.set(r.key(), r.value());
}

function editTree(L, doc, r, name) {
  const tree = doc.getTree(name);
  const positions = name === 't'; // among siblings; the tree of files has none
  if (positions) tree.enableFractionalIndex(0);
  else tree.disableFractionalIndex();
  const live = tree.getNodes({ withDeleted: false }).map((node) => node.id).sort(oracle.byBytes);
  const parent = live.length > 0 && r.chance(0.8) ? r.pick(live) : undefined;
  const index = positions && r.chance(0.5) ? r.below(childCount(tree, parent) + 1) : undefined;
  const what = r.below(20);
  if (what < 7 || live.length < 2) {
    const node = tree.createNode(parent, index);
    if (name === 'files') fill(node.data, r);
  } else if (what < 13) {
    move(tree, r.pick(live), parent, index);
  } else if (what < 15) {
    tree.delete(r.pick(live));
  } else {
    const { data } = tree.getNodeByID(r.pick(live));
    if (r.chance(0.5)) fill(data, r);
    else editKey(L, data, r);
  }
}

function childCount(tree, parent) {
  const children = parent ? tree.getNodeByID(parent).children() : tree.roots();
  return children?.length ?? 0;
}

// move leaves the tree as it is when the move would close a cycle, or when the
// index is out of range because the node is already there.
function move(tree, node, parent, index) {
  try {
    tree.move(node, parent, index);
  } catch (err) {
    if (oracle.trapped(err)) throw err;
  }
}

function fill(data, r) {
  data.set('name', r.pick(['a', 'report.txt', 'ünï', '文書']) + r.below(5));
  data.set('info', { kind: r.below(3), created: 1.7e15 + r.below(1e9) });
  data.set('content', { size: r.below(1e9), object: r.bytes(32) });
}

function editOther(doc, r) {
  switch (r.below(4)) {
    case 0: {
      const text = doc.getText('text');
      if (text.length > 4 && r.chance(0.3)) text.delete(r.below(text.length - 2), 1);
      else text.insert(r.below(text.length + 1), r.pick(['word ', 'né', '日本']));
      if (text.length > 4 && r.chance(0.2)) text.mark({ start: 0, end: 3 }, 'bold', true);
      break;
    }
    case 1: {
      const list = doc.getList('list');
      if (list.length > 0 && r.chance(0.3)) list.delete(r.below(list.length), 1);
      else list.insert(r.below(list.length + 1), r.value());
      break;
    }
    case 2: {
      const list = doc.getMovableList('movable');
      if (list.length > 1 && r.chance(0.3)) list.move(r.below(list.length), r.below(list.length));
      else if (list.length > 0 && r.chance(0.3)) list.set(r.below(list.length), r.value());
      else list.insert(r.below(list.length + 1), r.value());
      break;
    }
    default:
      doc.getCounter('counter').increment(r.below(9) - 4);
  }
}
