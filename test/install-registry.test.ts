/**
 * What people install with and run it in: npm, pnpm, yarn, vitest and jest, each from its registry, with the package's
 * tarballs: minutes and some hundred megabytes, so only with `DINO_TEST_INSTALL=1`.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Installed, SMALL_RUN } from '#built/testing/installed.js';
import { makeImageFolder } from '#built/testing/image-folder.js';
import { libtorchInUse } from '#built/torch/native.js';
import { machineName } from '#scripts/find-libtorch.mjs';
import { mainPaths } from './main-paths.js';

const skip =
  process.env['DINO_TEST_INSTALL'] === '1' ? false : 'DINO_TEST_INSTALL=1 installs from the registry';
let user: Installed;
before(async () => {
  if (skip !== false) return;
  user = new Installed();
  user.fillCache(libtorchInUse.root);
  await makeImageFolder(path.join(user.folder, 'images'), { classes: 3, perClass: 20 });
});
after(() => user?.[Symbol.dispose]());

const TOOLS = { pnpm: 'pnpm@10', yarn: '@yarnpkg/cli-dist@4' } as const;

/** A program of the registry's, installed by npm in a folder of its own. @returns Its file. */
function tool(name: keyof typeof TOOLS): string {
  const folder = path.join(user.folder, 'tools', name);
  mkdirSync(folder, { recursive: true });
  execFileSync('npm', ['install', '--prefix', folder, '--no-audit', '--no-fund', TOOLS[name]], {
    stdio: 'pipe',
  });
  return path.join(
    folder,
    'node_modules',
    ...(name === 'yarn' ? ['@yarnpkg', 'cli-dist', 'bin', 'yarn.js'] : ['pnpm', 'bin', 'pnpm.cjs']),
  );
}

/** A project that depends on the tarballs. */
function project(name: string, more: Record<string, unknown> = {}): string {
  const folder = path.join(user.folder, name);
  mkdirSync(folder);
  const [main, platform] = [user.packed.main.file, user.packed.platform.file].map((file) => `file:${file}`);
  const manifest = {
    ...{ name, version: '1.0.0', private: true },
    dependencies: { 'dino-ts': main, [`@dino-ts/${machineName()}`]: platform },
    ...more,
  };
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify(manifest));
  return folder;
}

/** Yarn looks up the packages of all platforms, which no registry has yet: this platform's in their place. */
function resolutions(): Record<string, string> {
  const manifest = path.join(user.folder, 'node_modules', 'dino-ts', 'package.json');
  const { optionalDependencies } = JSON.parse(readFileSync(manifest, 'utf8')) as {
    optionalDependencies: Record<string, string>;
  };
  const file = `file:${user.packed.platform.file}`;
  return Object.fromEntries(Object.keys(optionalDependencies).map((name) => [name, file]));
}

const run = (
  folder: string,
  command: string,
  args: readonly string[],
  env: Record<string, string> = {},
): SpawnSyncReturns<string> =>
  spawnSync(command, args, {
    ...{ cwd: folder, encoding: 'utf8', timeout: 600_000 },
    // the registry, its proxy and its certificates are this machine's
    env: { ...process.env, ...user.env, PATH: process.env['PATH'] ?? '', CI: '1', ...env },
  });

function ok({ status, stdout, stderr }: SpawnSyncReturns<string>): string {
  assert.equal(status, 0, `${stdout}\n${stderr}`);
  return stdout;
}

/** The program that the package manager has put there. */
const train = (folder: string, output: string): string =>
  ok(
    run(folder, path.join(folder, 'node_modules', '.bin', 'dino'), [
      'train',
      path.join(user.folder, 'images'),
      '--output',
      output,
      ...SMALL_RUN,
    ]),
  );

describe('package managers', { skip }, () => {
  it('npm: no install script, and a first training', () => {
    const folder = project('by-npm');
    ok(run(folder, 'npm', ['install', '--no-audit', '--no-fund']));
    assert.doesNotMatch(
      readFileSync(path.join(folder, 'package-lock.json'), 'utf8'),
      /"hasInstallScript": true[^}]*dino/,
    );
    train(folder, 'run');
  });

  it('pnpm, whose node_modules are links', () => {
    const folder = project('by-pnpm');
    ok(
      run(folder, process.execPath, [
        tool('pnpm'),
        'install',
        '--store-dir',
        path.join(user.folder, 'pnpm-store'),
      ]),
    );
    train(folder, 'run');
  });

  it('yarn, with node_modules and with Plug’n’Play', () => {
    const yarn = tool('yarn');
    const settings = (linker: string): string =>
      `nodeLinker: ${linker}\nenableGlobalCache: false\nenableTelemetry: false\nenableImmutableInstalls: false\n`;
    const folder = project('by-yarn', { resolutions: resolutions() });
    writeFileSync(path.join(folder, '.yarnrc.yml'), settings('node-modules'));
    writeFileSync(path.join(folder, 'yarn.lock'), '');
    ok(run(folder, process.execPath, [yarn, 'install']));
    train(folder, 'run');

    const pnp = project('by-pnp', { resolutions: resolutions() });
    writeFileSync(path.join(pnp, '.yarnrc.yml'), settings('pnp'));
    writeFileSync(path.join(pnp, 'yarn.lock'), '');
    ok(run(pnp, process.execPath, [yarn, 'install']));
    const args = ['train', path.join(user.folder, 'images'), '--output', 'run', ...SMALL_RUN];
    ok(run(pnp, process.execPath, [yarn, 'dino', ...args]));
    assert.ok(existsSync(path.join(pnp, 'run', 'config.json')));
    const { stdout } = run(pnp, process.execPath, [yarn, 'dino', 'doctor']);
    assert.doesNotMatch(stdout, /MISSING npm package/);
  });
});

const USE = `
  const { listImages, loadModel, train } = dino;
  const model = loadModel(RUN);
  const { features, shape } = await model.embed(IMAGES, { numWorkers: 1 });
  if (shape.join() !== '60,32' || features.length !== 60 * 32) throw new Error(shape.join());
  model.dispose();
  if ((await listImages(IMAGES)).items.length !== 60) throw new Error('images');
  if (typeof train !== 'function') throw new Error('train');`;

describe('test runners', { skip }, () => {
  let folder: string;
  const constants = (): string =>
    `const RUN = ${JSON.stringify(path.join(folder, 'run'))};\nconst IMAGES = ${JSON.stringify(path.join(user.folder, 'images'))};\n`;
  before(() => {
    if (skip !== false) return;
    folder = project('tested', { type: 'module', devDependencies: { vitest: '^3', jest: '^30' } });
    ok(run(folder, 'npm', ['install', '--no-audit', '--no-fund']));
    train(folder, 'run');
  });

  for (const pool of ['forks', 'threads', 'vmThreads', 'vmForks'])
    it(`vitest, in its pool ${pool}`, () => {
      writeFileSync(
        path.join(folder, 'use.test.js'),
        `import { test } from 'vitest';\nimport * as dino from 'dino-ts';\n${constants()}test('use', async () => {${USE}}, 300_000);\n`,
      );
      ok(run(folder, 'npx', ['vitest', 'run', 'use.test.js', `--pool=${pool}`]));
    });

  it('jest, with its modules', () => {
    writeFileSync(
      path.join(folder, 'use.jest.js'),
      `import * as dino from 'dino-ts';\n${constants()}test('use', async () => {${USE}}, 300_000);\n`,
    );
    writeFileSync(
      path.join(folder, 'jest.config.js'),
      `export default { testMatch: ['**/*.jest.js'], transform: {} };\n`,
    );
    ok(run(folder, process.execPath, ['--experimental-vm-modules', 'node_modules/jest/bin/jest.js']));
  });
});

for (const version of ['22', '24'])
  describe(`on Node ${version}`, { skip }, () => {
    let node: string;
    before(() => {
      if (skip !== false) return;
      const nodes = path.join(user.folder, `node-${version}`);
      mkdirSync(nodes);
      execFileSync(
        'npm',
        ['install', '--prefix', nodes, '--no-audit', '--no-fund', `node-${machineName()}@${version}`],
        { stdio: 'pipe' },
      );
      node = path.join(nodes, 'node_modules', `node-${machineName()}`, 'bin', 'node');
    });
    mainPaths(() => ({ user, node }), version);
  });
