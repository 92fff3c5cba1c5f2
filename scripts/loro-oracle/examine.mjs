// What is looked at in one document of another implementation.
import * as oracle from './oracle.mjs';

const editor = '999999999999'; // the peer that edits here

// examine imports blobs in order into a fresh document of library L and returns
// {checks: {name: true or what is wrong}, trapped}.
export function examine(L, item, blobs) {
  const run = new Run(L, item, blobs);
  run.all();
  if (!run.trapped) for (const doc of run.docs) doc.free();
  return { checks: run.checks, trapped: run.trapped };
}

class Run {
  constructor(L, item, blobs) {
    Object.assign(this, { L, item, blobs, docs: [], checks: {}, trapped: false });
  }

  // check records what f returns: true, nothing (which is as good), or what is wrong.
  check(name, f) {
    if (this.trapped) return false;
    try {
      this.checks[name] = f() ?? true;
    } catch (err) {
      this.trapped = oracle.trapped(err);
      this.checks[name] = oracle.describe(err);
    }
    return this.checks[name] === true;
  }

  // same compares a part of the document with what the item says of it, if it does.
  same(name, want, f) {
    if (want === undefined) return true;
    return this.check(name, () => {
      const got = f();
      return oracle.sameJSON(got, want) || `${oracle.stable(got).slice(0, 200)} instead of ${oracle.stable(want).slice(0, 200)}`;
    });
  }

  fresh(...blobs) {
    const doc = new this.L.LoroDoc();
    this.docs.push(doc);
    doc.setPeerId(editor);
    for (const blob of blobs) doc.import(blob);
    return doc;
  }

  all() {
    const { item, blobs } = this;
    if (item.expectReject) {
      this.rejection();
      return;
    }
    let doc;
    if (!this.check('import', () => { doc = this.fresh(...blobs); })) return;
    const state = item.stateSha ?? (item.state && oracle.sum(oracle.stable(item.state)));
    this.same('vv', item.vv, () => oracle.canonVersion(doc.oplogVersion()));
    this.same('frontiers', item.frontiers && [...item.frontiers].sort(oracle.byBytes), () => oracle.canonIDs(doc.oplogFrontiers()));
    this.same('state at the heads', oracle.canonIDs(doc.oplogFrontiers()), () => oracle.canonIDs(doc.frontiers()));
    this.same('state', state, () => oracle.stateSum(doc));
    this.same('operations', item.opsSha, () => oracle.sum(oracle.canonOps(doc)));
    if (this.trapped) return;
    const before = oracle.stateSum(doc);
    this.check('replay', () => this.replay(doc, before));
    // Also on a document of which nothing was read, whose state is still encoded.
    let lazy;
    this.check('edit', () => edit(this.L, doc));
    this.check('edit unread', () => { lazy = this.fresh(...blobs); edit(this.L, lazy); });
    if (this.trapped) return;
    const after = oracle.stateSum(doc);
    this.same('edited unread', after, () => oracle.stateSum(lazy));
    this.check('export snapshot', () => this.again(doc, { mode: 'snapshot' }, after));
    if (!doc.isShallow()) this.check('export update', () => this.again(doc, { mode: 'update' }, after));
    this.check('export shallow', () => this.again(doc, { mode: 'shallow-snapshot', frontiers: doc.frontiers() }, after));
  }

  // rejection expects the last blob, and no other, to be refused without effect.
  rejection() {
    let doc;
    const last = this.blobs.at(-1);
    if (!this.check('import', () => { doc = this.fresh(...this.blobs.slice(0, -1)); })) return;
    this.check('rejection', () => {
      const before = oracle.stateSum(doc);
      try {
        doc.import(last);
      } catch (err) {
        if (oracle.trapped(err)) throw err;
        return oracle.stateSum(doc) === before || 'a refused import changed the document';
      }
      return 'imported';
    });
  }

  // replay compares the state with what the history alone gives.
  replay(doc, want) {
    if (!doc.isShallow()) {
      return oracle.stateSum(this.fresh(doc.export({ mode: 'update' }))) === want || 'the history gives another state';
    }
    doc.checkout(doc.shallowSinceFrontiers());
    doc.checkoutToLatest();
    return oracle.stateSum(doc) === want || 'a checkout of the start and back gives another state';
  }

  // again exports the document and imports that into a fresh one.
  again(doc, options, want) {
    const copy = this.fresh(doc.export(options));
    if (oracle.stateSum(copy) !== want) return 'imports as another state';
    return oracle.sameJSON(oracle.canonVersion(copy.oplogVersion()), oracle.canonVersion(doc.oplogVersion())) || 'imports as another version';
  }
}

// edit changes one of everything in a document; what, depends on its content alone.
export function edit(L, doc) {
  doc.getMap('__check').set('k', 1);
  const own = doc.getTree('__checkTree');
  own.createNode().data.set('x', 1);
  for (const name of ['files', 't']) editTree(doc.getTree(name));
  for (const name of ['entries', 'm', 'pocket']) editMap(L, doc.getMap(name));
  doc.commit();
}

function editTree(tree) {
  tree.disableFractionalIndex();
  const nodes = tree.getNodes({ withDeleted: false }).sort((a, b) => oracle.byBytes(a.id, b.id));
  if (nodes.length < 2) return;
  const [first, second, last] = [nodes[0], nodes[1], nodes.at(-1)];
  first.data.set('__e', 2);
  const gone = tree.createNode(first.id);
  gone.data.set('n', 'gone');
  tree.move(gone.id, second.id);
  tree.delete(gone.id);
  tree.createNode(last.id).data.set('n', 'stays');
  tree.delete(second.id);
}

function editMap(L, map) {
  const keys = map.keys().sort(oracle.byBytes);
  for (const key of keys) {
    const child = map.get(key);
    if (!(child instanceof L.LoroMap)) continue;
    child.set('__e', 1);
    break;
  }
  if (keys.length > 0) {
    map.delete(keys.at(-1));
    map.setContainer('__new', new L.LoroMap()).set('size', 1);
  }
}
