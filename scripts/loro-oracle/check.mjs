// Has the official library read what another implementation wrote.
//
//   node check.mjs DIR [--ver 1.10.3|1.17.1|all] [--jobs N] [--json]
//
// DIR/impl.json lists the items (see ../loroblobs). For every item and version
// the blobs are imported in order into a fresh document, and examine.mjs looks at
// the result.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { VERSIONS, load } from './oracle.mjs';
import { askAll, serve } from './pool.mjs';
import { examine } from './examine.mjs';

const me = fileURLToPath(import.meta.url);
const defaultLimit = 120_000; // milliseconds for one item

const { values: options, positionals: [dir] } = parseArgs({
  allowPositionals: true,
  options: {
    ver: { type: 'string', default: 'all' },
    jobs: { type: 'string', default: String(os.availableParallelism()) },
    json: { type: 'boolean', default: false },
    worker: { type: 'boolean', default: false },
  },
});
if (!dir) {
  console.error('usage: node check.mjs DIR [--ver VERSION] [--jobs N] [--json]');
  process.exit(2);
}
const { items } = JSON.parse(fs.readFileSync(path.join(dir, 'impl.json')));

function work() {
  const L = load(options.ver);
  return serve((index) => {
    const item = items[index];
    return examine(L, item, item.blobs.map((name) => fs.readFileSync(path.join(dir, name))));
  });
}

async function main() {
  const versions = options.ver === 'all' ? Object.keys(VERSIONS) : [options.ver];
  versions.forEach(load); // rather one error here than one an item
  const results = [];
  for (const version of versions) {
    await askAll({
      args: [me, dir, '--worker', '--ver', version],
      queue: [...items.keys()],
      jobs: Number(options.jobs),
      limit: (index) => items[index].timeLimitMs ?? defaultLimit,
      report: (index, findings) => {
        const result = { name: items[index].name, version, wrong: wrongIn(findings), ...findings };
        results.push(result);
        if (result.wrong.length > 0 && !options.json) console.log(`FAIL ${version} ${result.name}: ${result.wrong.join('; ')}`);
      },
    });
  }
  const failures = results.filter((result) => result.wrong.length > 0).length;
  if (options.json) console.log(JSON.stringify(results));
  else console.log(`${items.length} items in ${versions.join(' and ')}: ${failures} failures`);
  return failures ? 1 : 0;
}

function wrongIn(findings) {
  if (findings.crash) return [`crash: ${findings.crash}`];
  return Object.entries(findings.checks).filter(([, x]) => x !== true).map(([name, x]) => `${name}: ${x}`);
}

if (options.worker) await work();
else process.exitCode = await main();
