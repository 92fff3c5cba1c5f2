// The official library's side of cross-play: documents of one version of it,
// driven by lines of JSON on standard input, each answered by one.
//
//   node crossplay.mjs 1.17.1
//
//   {"do":"new","doc":1,"peer":"7"}                        {}
//   {"do":"edit","doc":1,"seed":5,"count":3,"time":17,"other":false}   {}
//   {"do":"import","doc":1,"blob":"base64"}                {"pending":{"7":[0,4]}} or {"refused":"why"}
//   {"do":"updates","doc":1,"from":{"7":3}}                {"blob":"base64"}
//   {"do":"snapshot","doc":1}                              {"blob":"base64"}
//   {"do":"shallow","doc":1,"at":["3@7"]}                  {"blob":"base64"}
//   {"do":"look","doc":1}                                  {"state":"sha","vv":{},"frontiers":[]}
//   {"do":"text","doc":1,"what":"state" or "operations"}   {"text":"…"}
//   {"do":"free","doc":1}                                  {}
//
// An answer {"failed":"why"} means that the library did what it should not.
import readline from 'node:readline';
import * as oracle from './oracle.mjs';
import { randomEdits, otherRoots } from './edits.mjs';

const L = oracle.load(process.argv[2]);
const docs = new Map();
const keep = (root) => !otherRoots.includes(root);
const base64 = (bytes) => ({ blob: Buffer.from(bytes).toString('base64') });

const commands = {
  new({ doc, peer }) {
    const d = new L.LoroDoc();
    d.setPeerId(peer);
    docs.set(doc, d);
  },
  edit({ doc, ...how }) {
    randomEdits(L, docs.get(doc), how);
  },
  import({ doc, blob }) {
    let status;
    try {
      status = docs.get(doc).import(Buffer.from(blob, 'base64'));
    } catch (err) {
      if (oracle.trapped(err)) throw err;
      return { refused: oracle.describe(err) };
    }
    const pending = {};
    for (const [peer, span] of status.pending ?? []) pending[peer] = [span.start, span.end];
    return { pending };
  },
  updates({ doc, from }) {
    return base64(docs.get(doc).export({ mode: 'update', from: oracle.versionOf(L, from) }));
  },
  snapshot({ doc }) {
    return base64(docs.get(doc).export({ mode: 'snapshot' }));
  },
  shallow({ doc, at }) {
    const frontiers = at.map((id) => {
      const [counter, peer] = id.split('@');
      return { counter: Number(counter), peer };
    });
    return base64(docs.get(doc).export({ mode: 'shallow-snapshot', frontiers }));
  },
  look({ doc }) {
    const d = docs.get(doc);
    return {
      state: oracle.stateSum(d, keep),
      vv: oracle.canonVersion(d.oplogVersion()),
      frontiers: oracle.canonIDs(d.oplogFrontiers()),
    };
  },
  text({ doc, what }) {
    const d = docs.get(doc);
    return { text: what === 'state' ? oracle.canonState(d, keep) : oracle.canonOps(d) };
  },
  free({ doc }) {
    docs.get(doc).free();
    docs.delete(doc);
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = commands[request.do](request) ?? {};
  } catch (err) {
    answer = { failed: oracle.describe(err) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
