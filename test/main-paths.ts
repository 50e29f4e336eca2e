/** The main paths of an installed package: a command line, a module, a worker thread, a script. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { before, it } from 'node:test';
import { type Installed, SMALL_RUN } from '#built/testing/installed.js';
import { libtorchInUse } from '#built/torch/native.js';

/** Tests of what every Node must do; `node` is another than this one. */
export function mainPaths(where: () => { user: Installed; node?: string }, name: string): void {
  let user: Installed;
  const options = (): { node?: string } => {
    const { node } = where();
    return node === undefined ? {} : { node };
  };
  before(() => {
    ({ user } = where());
    user.fillCache(libtorchInUse.root);
  });

  it('trains on 60 images, and uses what it learned', () => {
    const run = `run-${name}`;
    const trained = user.dino(['train', 'images', '--output', run, ...SMALL_RUN, '--json'], options());
    assert.equal(trained.status, 0, trained.stderr);
    const embedded = user.dino(
      ['embed', run, 'images', '--output', `${run}.npy`, '--device', 'cpu'],
      options(),
    );
    assert.equal(embedded.status, 0, embedded.stderr);
    assert.ok(readFileSync(path.join(user.folder, `${run}.npy`)).length > 60 * 32 * 4);
    const exported = user.dino(['export', run, '--format', 'web', '--output', `${run}-web`], options());
    assert.equal(exported.status, 0, exported.stderr);
  });

  const PROGRAM = `
    const use = async ({ packageVersion, listImages }, { zeros }) =>
      console.log(packageVersion, (await listImages('images')).items.length, zeros([2, 3]).shape.join());`;
  const USED = / 60 2,3$/;
  const asModule = `import * as dino from 'dino-ts'; import * as torch from 'dino-ts/torch'; ${PROGRAM} await use(dino, torch);`;
  const asScript = `${PROGRAM} use(require('dino-ts'), require('dino-ts/torch'));`;

  it('is imported by a module, also in a worker thread and in two', () => {
    const direct = user.node(['--input-type=module', '-e', asModule], options());
    assert.match(direct.stdout.trim(), USED, direct.stderr);
    writeFileSync(path.join(user.folder, 'used.mjs'), asModule);
    const threads = user.node(
      [
        '-e',
        `const { Worker } = require('node:worker_threads'); for (const i of [1, 2]) new Worker('./used.mjs').on('error', (error) => { console.error(error); process.exitCode = 1; });`,
      ],
      options(),
    );
    assert.equal(threads.status, 0, threads.stderr);
    assert.equal(
      threads.stdout
        .trim()
        .split('\n')
        .filter((line) => USED.test(line)).length,
      2,
    );
  });

  it('is required by a script', (test) => {
    const can = user.node(['-p', 'process.features.require_module === true'], options());
    if (can.stdout.trim() !== 'true') return test.skip('this Node has no require() of modules');
    const { stdout, stderr } = user.node(['-e', asScript], options());
    assert.match(stdout.trim(), USED, stderr);
  });
}
