// Has the official library judge damaged blobs (see ../loroblobs -mutate) and holds
// that against what this project's library made of them.
//
//   node mutants.mjs DIR [--ver 1.17.1] [--jobs N] [--save DIR]
//
// DIR/mutants.json lists [{name, offset, len, accepted, stateSha, other}], the bytes are
// in DIR/mutants.bin. What the official library refuses, or crashes on, at the
// import or when the document is then read, must have been refused. Refusing what
// the official library accepts is free. Operations that both accept must have the
// same effect; a state that contradicts the history may be shown as anything.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as oracle from './oracle.mjs';
import { askAll, serve } from './pool.mjs';

const me = fileURLToPath(import.meta.url);
const limit = 20_000; // milliseconds for one blob

const { values: options, positionals: [dir] } = parseArgs({
  allowPositionals: true,
  options: {
    ver: { type: 'string', default: '1.17.1' },
    jobs: { type: 'string', default: String(os.availableParallelism()) },
    save: { type: 'string' },
    worker: { type: 'boolean', default: false },
  },
});
if (!dir) {
  console.error('usage: node mutants.mjs DIR [--ver VERSION] [--jobs N] [--save DIR]');
  process.exit(2);
}
const mutants = JSON.parse(fs.readFileSync(path.join(dir, 'mutants.json')));
const bytes = fs.readFileSync(path.join(dir, 'mutants.bin'));
const blobOf = ({ offset, len }) => bytes.subarray(offset, offset + len);

// judge returns {verdict, state?, trapped?}. There is no state to compare when a
// root is neither map nor tree, perhaps beside one of the same name that is.
function judge(L, blob) {
  const doc = new L.LoroDoc();
  let verdict = 'refused';
  try {
    doc.import(blob);
    verdict = 'accepted, then failed';
    const state = oracle.stateSum(doc);
    const plain = Object.values(doc.getShallowValue()).every((id) => /:(Map|Tree)$/.test(id));
    doc.free();
    return { verdict: 'accepted', state: plain ? state : undefined };
  } catch (err) {
    if (oracle.trapped(err)) return { verdict: `${verdict} by a crash`, trapped: true };
    doc.free();
    return { verdict, why: oracle.describe(err) };
  }
}

// trusted reports whether a damaged blob holds a state, which is believed.
const trusted = (mutant) => /-snapshot-/.test(mutant.name);

// compare holds what the official library answered against what was made of the
// blob here: {outcome, what?}.
function compare(mutant, { verdict, state, why, crash }) {
  const accepted = verdict === 'accepted';
  if (!mutant.accepted) return { outcome: accepted ? 'stricter' : 'refused' };
  if (!accepted && mutant.other) return { outcome: 'unjudged' };
  if (!accepted) return { outcome: 'fault', what: `accepted here, official: ${crash ?? verdict} ${why ?? ''}` };
  const comparable = state && mutant.stateSha && !trusted(mutant);
  if (comparable && state !== mutant.stateSha) return { outcome: 'fault', what: 'accepted by both and shown differently' };
  return { outcome: 'accepted' };
}

async function main() {
  oracle.load(options.ver); // rather one error here than one a blob
  const count = { refused: 0, accepted: 0, stricter: 0, unjudged: 0, fault: 0 };
  await askAll({
    args: [me, dir, '--worker', '--ver', options.ver],
    queue: [...mutants.keys()],
    jobs: Number(options.jobs),
    limit: () => limit,
    report: (index, answer) => {
      const mutant = mutants[index];
      const { outcome, what } = compare(mutant, answer);
      count[outcome]++;
      if (outcome !== 'fault') return;
      console.log(`FAIL ${options.ver} ${mutant.name}: ${what}`);
      if (options.save) fs.writeFileSync(path.join(options.save, `${mutant.name.replaceAll(' ', '-')}.bin`), blobOf(mutant));
    },
  });
  console.log(`${mutants.length} damaged blobs: ${count.refused} refused and ${count.accepted} accepted by both, `
    + `${count.stricter} refused here alone, ${count.unjudged} not judged, ${count.fault} failures`);
  return count.fault ? 1 : 0;
}

if (options.worker) {
  const L = oracle.load(options.ver);
  await serve((index) => judge(L, blobOf(mutants[index])));
} else {
  process.exitCode = await main();
}
