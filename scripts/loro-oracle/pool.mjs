// Processes of the official library that are asked one question after another,
// because starting one is what takes long. A crash of the library makes the rest
// of its process worthless, so that the question is then put again to a process of
// its own, and others go on in a fresh one.
import readline from 'node:readline';
import { spawn } from 'node:child_process';

const questionsPerProcess = 400; // WebAssembly never gives memory back

// serve answers each line of standard input, the number of a question, with the
// line of JSON f makes of it. It is what a process started by askAll does.
export async function serve(f) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(f(Number(line)))}\n`);
  }
}

class Worker {
  constructor(args) {
    this.asked = 0;
    this.errors = '';
    this.process = spawn(process.execPath, args, { stdio: 'pipe' });
    this.process.stderr.on('data', (text) => { this.errors = (this.errors + text).slice(0, 400); });
    this.process.stdin.on('error', () => {}); // the end of the process says it all
    this.lines = readline.createInterface({ input: this.process.stdout });
    this.ended = new Promise((resolve) => {
      this.process.on('close', (code, signal) => resolve(`exit ${code ?? signal} ${this.errors}`));
    });
  }

  // ask returns the answer, or {crash} when there is none.
  async ask(question, limit) {
    this.asked++;
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(() => resolve({ crash: `no answer within ${limit} ms` }), limit);
    });
    const answer = new Promise((resolve) => { this.lines.once('line', (line) => resolve(JSON.parse(line))); });
    const death = this.ended.then((how) => ({ crash: how }));
    this.process.stdin.write(`${question}\n`);
    const first = await Promise.race([answer, death, late]);
    clearTimeout(timer);
    return first;
  }

  stop() {
    this.process.kill('SIGKILL');
    return this.ended;
  }
}

// askAll puts the questions of a queue to processes, as many at a time as there
// are jobs, and reports each answer. An answer with trapped set, or {crash}, says
// that its process is not to be trusted any more. limit is in milliseconds.
export async function askAll({ args, queue, jobs, limit, report }) {
  const drain = async () => {
    let worker = null;
    const fresh = async () => {
      await worker?.stop();
      worker = new Worker(args);
    };
    for (let question = queue.shift(); question !== undefined; question = queue.shift()) {
      if (!worker || worker.asked >= questionsPerProcess) await fresh();
      let answer = await worker.ask(question, limit(question));
      const broken = () => answer.crash || answer.trapped;
      if (broken() && worker.asked > 1) {
        await fresh();
        answer = await worker.ask(question, limit(question));
      }
      if (broken()) {
        await worker.stop();
        worker = null;
      }
      report(question, answer);
    }
    await worker?.stop();
  };
  await Promise.all(Array.from({ length: Math.min(jobs, queue.length) }, drain));
}
