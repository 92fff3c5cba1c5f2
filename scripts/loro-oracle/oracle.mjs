// Loads the official Loro library and states what one of its documents shows in
// the canonical form of the Go package canon.
//
// The library's two versions are installed outside of the tree by ../check-loro.sh,
// which says where in LORO_ORACLE.
import { createRequire } from 'node:module';
import crypto from 'node:crypto';
import path from 'node:path';

export const VERSIONS = { '1.10.3': 'loro110', '1.17.1': 'loro117' };

// load returns the module of one version of the library.
export function load(version) {
  const dir = process.env.LORO_ORACLE;
  if (!dir) throw new Error('LORO_ORACLE names no directory: run scripts/check-loro.sh, which installs the library and sets it');
  if (!VERSIONS[version]) throw new Error(`version ${version} is none of ${Object.keys(VERSIONS).join(', ')}`);
  return createRequire(path.join(path.resolve(dir), 'package.json'))(VERSIONS[version]);
}

// trapped reports whether an error is a crash of the library, after which no
// document of this process can be trusted, rather than its refusal.
export const trapped = (err) => err instanceof WebAssembly.RuntimeError;

// describe names an error in one short line.
export function describe(err) {
  const text = String(err?.message ?? err).replace(/\s+/g, ' ').slice(0, 140);
  return (trapped(err) ? 'TRAP ' : 'ERR ') + text;
}

export const byBytes = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));

function bitsOf(number) {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(number);
  return bytes.toString('hex');
}

function canonNumber(x) {
  if (Number.isNaN(x)) return { $f64: '7ff8000000000000' };
  if (!Number.isInteger(x)) return { $f64: bitsOf(x) };
  if (!Number.isSafeInteger(x)) return { $num: bitsOf(x) };
  return x === 0 ? 0 : x; // -0 is 0
}

// canonValue maps a value of the library to plain JSON.
export function canonValue(v) {
  switch (typeof v) {
    case 'undefined': return null;
    case 'boolean':
    case 'string': return v;
    case 'number': return canonNumber(v);
    case 'bigint': return canonNumber(Number(v));
  }
  if (v === null) return null;
  if (v instanceof Uint8Array) return { $bin: Buffer.from(v).toString('hex') };
  if (Array.isArray(v)) return v.map(canonValue);
  const out = Object.create(null); // "__proto__" is a key like any other
  for (const key of Object.keys(v)) out[key] = canonValue(v[key]);
  return out;
}

// stable is JSON without spaces, keys sorted by their UTF-8 bytes.
export function stable(v) {
  if (Array.isArray(v)) return `[${v.map(stable).join(',')}]`;
  if (v === null || typeof v !== 'object') return JSON.stringify(v);
  const keys = Object.keys(v).sort(byBytes);
  return `{${keys.map((k) => `${JSON.stringify(k)}:${stable(v[k])}`).join(',')}}`;
}

export const sum = (text) => crypto.createHash('sha256').update(text).digest('hex');

function isEmpty(v) {
  if (v === null || v === '' || v === 0) return true;
  return typeof v === 'object' && Object.keys(v).length === 0;
}

// canonState is the deep value of a document as text. Empty roots are left out:
// whether they are there depends on the version and on how bytes came in. keep,
// if given, says which roots count.
export function canonState(doc, keep = () => true) {
  const deep = canonValue(doc.toJSON());
  for (const root of Object.keys(deep)) {
    if (isEmpty(deep[root]) || !keep(root)) delete deep[root];
  }
  return stable(deep);
}

export const stateSum = (doc, keep) => sum(canonState(doc, keep));

// canonVersion is a version vector as an object from peer to end.
export function canonVersion(vv) {
  const out = {};
  for (const [peer, end] of vv.toJSON()) if (end > 0) out[peer] = end;
  return out;
}

export const canonIDs = (ids) => ids.map((id) => `${id.counter}@${id.peer}`).sort(byBytes);

export const sameJSON = (a, b) => stable(a) === stable(b);

// canonOps is the history as text, one entry an operation. Operations on
// containers that are neither map nor tree are left out. Binary values are lists
// of integers, as in the library's JSON updates.
export function canonOps(doc) {
  const ops = [];
  for (const change of doc.exportJsonUpdates(undefined, undefined, false).changes) {
    const [first, peer] = change.id.split('@');
    for (const op of change.ops) {
      if (!/:(Map|Tree)$/.test(op.container)) continue;
      const isFirst = op.counter === Number(first);
      ops.push({
        peer: BigInt(peer),
        counter: op.counter,
        entry: {
          id: `${op.counter}@${peer}`,
          lamport: change.lamport + op.counter - Number(first),
          deps: isFirst ? [...(change.deps ?? [])].sort(byBytes) : [`${op.counter - 1}@${peer}`],
          ts: change.timestamp,
          msg: change.msg || null,
          container: op.container,
          content: canonValue(op.content),
        },
      });
    }
  }
  ops.sort((a, b) => (a.peer === b.peer ? a.counter - b.counter : a.peer < b.peer ? -1 : 1));
  return stable(ops.map((op) => op.entry));
}

// versionOf converts an object from peer to end to the library's version vector.
export const versionOf = (L, ends) => new L.VersionVector(new Map(Object.entries(ends)));
