/** The package is imported from wherever a program may stand: a file, the command line, standard input, a worker. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { packageRoot } from '#scripts/find-libtorch.mjs';

const folder = mkdtempSync(path.join(tmpdir(), 'dino-import-'));
before(() => {
  // where npm would put the package of a program of somebody else's
  mkdirSync(path.join(folder, 'node_modules'));
  symlinkSync(packageRoot, path.join(folder, 'node_modules', 'dino-ts'));
});
after(() => rmSync(folder, { recursive: true }));

/** A graph is made too: its library is loaded when it is needed. */
const IMPORTED = `
  async function use(dino) {
    const { VectorIndex } = await import(${JSON.stringify(pathToFileURL(path.join(packageRoot, 'dist', 'explore', 'vector-index.js')).href)});
    const vectors = new VectorIndex(2);
    await vectors.add(Int32Array.of(7), Float32Array.of(1, 0));
    console.log(typeof dino.train, vectors.search(Float32Array.of(1, 0), 1).join());
  }
`;
const asModule = `import * as dino from 'dino-ts'; ${IMPORTED} await use(dino);`;
const asScript = `${IMPORTED} import('dino-ts').then(use);`;
const byRequire = `${IMPORTED} use(require('dino-ts'));`;
const inWorker = (code: string) =>
  `const { Worker } = require('node:worker_threads'); new Worker(${JSON.stringify(code)}, { eval: true });`;

function printed(args: string[], input?: string): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--no-warnings', ...args], {
    cwd: folder,
    encoding: 'utf8',
    timeout: 60_000,
    ...(input === undefined ? {} : { input }),
  });
  assert.equal(status, 0, stderr);
  return stdout.trim();
}

/** What is in a file of this name in the program's folder. */
function fromFile(name: string, code: string): string {
  writeFileSync(path.join(folder, name), code);
  return printed([name]);
}

const USED = 'function 7';
const canRequire = Boolean((process.features as { require_module?: boolean }).require_module);
const skip = canRequire ? false : 'this Node has no require() of modules';

test('imported by a file', () => assert.equal(fromFile('program.mjs', asModule), USED));
test('imported by node -e', () => assert.equal(printed(['-e', asScript]), USED));
test('imported by node -e as a module', () =>
  assert.equal(printed(['--input-type=module', '-e', asModule]), USED));
test('imported by a script from standard input', () => assert.equal(printed([], asScript), USED));
test('imported by a module from standard input', () =>
  assert.equal(printed(['--input-type=module'], asModule), USED));
test('imported by an evaluated worker', () => assert.equal(printed(['-e', inWorker(asScript)]), USED));
test('required by a file', { skip }, () => assert.equal(fromFile('program.cjs', byRequire), USED));
test('required by node -e', { skip }, () => assert.equal(printed(['-e', byRequire]), USED));
test('required by an evaluated worker', { skip }, () =>
  assert.equal(printed(['-e', inWorker(byRequire)]), USED),
);

test('imported in another context, as in vitest’s vm pools: what Node 20 adds only to its own is there', () => {
  const program = `
    import { readFileSync } from 'node:fs';
    import vm from 'node:vm';
    const context = vm.createContext();
    const file = ${JSON.stringify(path.join(packageRoot, 'dist', 'plain', 'disposal.js'))};
    const module = new vm.SourceTextModule(readFileSync(file, 'utf8'), { context });
    await module.link(() => { throw new Error('imports nothing'); });
    await module.evaluate();
    const [dispose, asyncDispose] = vm.runInContext('[Symbol.dispose, Symbol.asyncDispose]', context);
    console.log(dispose === Symbol.dispose, asyncDispose === Symbol.asyncDispose);`;
  assert.equal(printed(['--experimental-vm-modules', '--input-type=module', '-e', program]), 'true true');
});
