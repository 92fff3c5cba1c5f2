// Has the official library judge damaged blobs (see ../loroblobs -mutate) and holds
// that against what this project's library made of them.
//
//   node mutants.mjs DIR [--ver 1.17.1] [--jobs N] [--save DIR]
//
// DIR/mutants.json lists [{name, offset, len, accepted, stateSha}], the bytes are
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
const trusted = (mutant) => /-(snapshot|shallow)-/.test(mutant.name);

async function main() {
  oracle.load(options.ver);
  const count = { refused: 0, both: 0, stricter: 0 };
  const faults = [];
  await askAll({
    args: [me, dir, '--worker', '--ver', options.ver],
    queue: [...mutants.keys()],
    jobs: Number(options.jobs),
    limit: () => limit,
    report: (index, { verdict, state, why, crash }) => {
      const mutant = mutants[index];
      const official = crash ? `crashed: ${crash}` : verdict;
      const accepted = official === 'accepted';
      if (accepted && !mutant.accepted) count.stricter++;
      if (!accepted && !mutant.accepted) count.refused++;
      if (!mutant.accepted) return;
      if (accepted && (!state || state === mutant.stateSha || trusted(mutant))) count.both++;
      else faults.push({ mutant, what: accepted ? 'accepted by both and shown differently' : `accepted here, official: ${official} ${why ?? ''}` });
    },
  });
  for (const { mutant, what } of faults) {
    console.log(`FAIL ${options.ver} ${mutant.name}: ${what}`);
    if (options.save) fs.writeFileSync(path.join(options.save, `${mutant.name.replaceAll(' ', '-')}.bin`), blobOf(mutant));
  }
  console.log(`${mutants.length} damaged blobs: ${count.refused} refused and ${count.both} accepted by both, `
    + `${count.stricter} refused here alone, ${faults.length} failures`);
  return faults.length ? 1 : 0;
}

if (options.worker) {
  const L = oracle.load(options.ver);
  await serve((index) => judge(L, blobOf(mutants[index])));
} else {
  process.exitCode = await main();
}
