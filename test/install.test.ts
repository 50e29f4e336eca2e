/**
 * The packages from their tarballs, in an empty folder without a compiler and Python: what a user sees who runs
 * `npm install dino-ts`. libtorch is that of this machine, in the user's cache folder.
 *
 * `DINO_TEST_INSTALL=1` installs the tarballs with npm itself, whose dependencies then come from the registry, and runs the
 * main paths on Node 20, 22 and 24.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import ts from 'typescript';
import { Installed } from '#built/testing/installed.js';
import { makeImageFolder } from '#built/testing/image-folder.js';
import { libtorchInUse } from '#built/torch/native.js';
import { machineName, packageRoot, TORCH_VERSION } from '#scripts/find-libtorch.mjs';

const isThorough = process.env['DINO_TEST_INSTALL'] === '1';
let user: Installed;
before(async () => {
  user = new Installed();
  await makeImageFolder(path.join(user.folder, 'images'), { classes: 3, perClass: 20 });
});
after(() => user[Symbol.dispose]());

const SMALL = [
  ...['--embed-dim', '32', '--depth', '2', '--num-heads', '2', '--head-hidden-dim', '32', '--out-dim', '32'],
  ...[
    '--batch-size',
    '20',
    '--local-crops-number',
    '2',
    '--device',
    'cpu',
    '--threads',
    '1',
    '--epochs',
    '1',
  ],
];
const inPackage = (...parts: string[]): string => path.join(user.folder, 'node_modules', 'dino-ts', ...parts);

describe('before libtorch is there', () => {
  before(() => user.emptyCache());

  it('help and version work', () => {
    assert.match(user.dino(['--help']).stdout, /setup +get what is missing/);
    assert.equal(user.dino(['--version']).status, 0);
  });

  it('the first command that needs it says what was looked for, and what helps', () => {
    const { status, stderr } = user.dino(['train', 'images', '--output', 'run', ...SMALL]);
    assert.equal(status, 1);
    assert.match(
      stderr,
      new RegExp(`libtorch ${TORCH_VERSION} was not found on this machine \\(${machineName()}\\)`),
    );
    assert.match(stderr, /LIBTORCH: \(environment variable\) is not set/);
    assert.match(stderr, /python: python3 does not run/);
    assert.match(stderr, /cache: .*home.*dino-ts.*libtorch.* does not exist/);
    assert.match(stderr, /`npx dino setup`: downloads it/);
    assert.doesNotMatch(stderr, /npm run setup|internal:|\n {4}at /);
    assert.ok(!existsSync(path.join(user.folder, 'run')));
  });

  it('dino doctor says it too, and that the addons are there', () => {
    const { status, stdout } = user.dino(['doctor']);
    assert.equal(status, 1);
    assert.match(stdout, /MISSING libtorch: .*\n +-> run `npx dino setup`, which downloads it/);
    assert.match(stdout, /ok +addon torch: .*@dino-ts.*torch\.node \(prebuilt\)/);
  });

  it('dino setup says what it lacks: an index', () => {
    const { status, stderr } = user.dino(['setup'], {
      env: { PIP_NO_INDEX: '1', PIP_CONFIG_FILE: '/dev/null' },
    });
    assert.equal(status, 1);
    assert.match(stderr, /addons: prebuilt/);
    assert.match(stderr, new RegExp(`torch ${TORCH_VERSION} for ${machineName()} was not found in`));
    assert.doesNotMatch(stderr, /internal:|\n {4}at /);
  });

  it('a wrong LIBTORCH is an error, and never skipped', () => {
    for (const command of [['setup'], ['train', 'images', '--output', 'run', ...SMALL]]) {
      const { status, stderr } = user.dino(command, { env: { LIBTORCH: path.join(user.folder, 'absent') } });
      assert.equal(status, 1);
      assert.match(stderr, /LIBTORCH.*absent.* does not exist/s);
    }
  });

  it('LIBTORCH is used where it is', () => {
    const env = { LIBTORCH: libtorchInUse.root };
    const { status, stdout, stderr } = user.dino(['setup', '--json'], { env });
    assert.equal(status, 0, stderr);
    const result = JSON.parse(stdout) as { libtorch: string; addons: unknown; downloaded: number };
    assert.deepEqual(
      [result.libtorch, result.addons, result.downloaded],
      [libtorchInUse.root, { torch: 'package', crops: 'package' }, 0],
    );
    assert.deepEqual(user.inHome(), []); // a choice of one call is not noted
  });
});

describe('without the package for the platform', () => {
  const hidden = (): string => `${user.platformFolder}-hidden`;
  before(() => {
    user.fillCache(libtorchInUse.root);
    renameSync(user.platformFolder, hidden());
  });
  after(() => renameSync(hidden(), user.platformFolder));

  it('the first command that needs it names it, and what helps', () => {
    const { status, stderr } = user.dino(['info', 'images']);
    assert.notEqual(status, 0);
    const trained = user.dino(['train', 'images', '--output', 'run', ...SMALL]);
    assert.equal(trained.status, 1);
    assert.match(trained.stderr, new RegExp(`the torch addon for ${machineName()} was not found`));
    assert.match(trained.stderr, new RegExp(`@dino-ts/${machineName()} is not installed`));
    assert.match(trained.stderr, /npm install --include=optional/);
    assert.match(trained.stderr, /`npx dino setup --compile`: compiles it/);
    assert.doesNotMatch(stderr, /internal:/);
  });

  it('dino setup would compile, and says that there is no compiler', () => {
    const { status, stderr } = user.dino(['setup']);
    assert.equal(status, 1);
    assert.match(stderr, /No C\+\+20 compiler found/);
    assert.match(stderr, /apt-get install g\+\+|xcode-select/);
  });

  it('one of another version is not used', () => {
    mkdirSync(user.platformFolder);
    const manifest = {
      name: `@dino-ts/${machineName()}`,
      version: '0.0.1',
      exports: { './package.json': './package.json' },
    };
    writeFileSync(path.join(user.platformFolder, 'package.json'), JSON.stringify(manifest));
    const { stderr } = user.dino(['train', 'images', '--output', 'run', ...SMALL]);
    renameSync(user.platformFolder, path.join(user.folder, 'other-version'));
    assert.match(stderr, /is version 0\.0\.1, and dino-ts is \d/);
  });
});

/** What every Node must do. */
function mainPaths(node: string | undefined, name: string): void {
  const options = () => (node === undefined ? {} : { node });
  before(() => user.fillCache(libtorchInUse.root));

  it('trains on 60 images, and uses what it learned', () => {
    const run = `run-${name}`;
    const trained = user.dino(['train', 'images', '--output', run, ...SMALL, '--json'], options());
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

describe('with libtorch in the cache folder', () => {
  mainPaths(undefined, 'this');

  it('dino setup has nothing to do, and the search is noted', () => {
    const { status, stdout, stderr } = user.dino(['setup', '--json']);
    assert.equal(status, 0, stderr);
    assert.equal((JSON.parse(stdout) as { downloaded: number }).downloaded, 0);
    assert.ok(user.inHome().some((name) => name.endsWith(`${machineName()}.json`)));
  });

  it(
    'runs where node_modules and the home folder can be read only',
    { skip: process.getuid?.() === 0 },
    () => {
      // as root everything can be written: a user other than root shows it
      chmodSync(inPackage(), 0o555);
      const { status, stderr } = user.dino(['doctor']);
      chmodSync(inPackage(), 0o755);
      assert.equal(status, 0, stderr);
    },
  );
});

describe('TypeScript programs that use the package', () => {
  const program = `
    import { train, loadModel, listImages, type TrainSettings, type TrainOptions } from 'dino-ts';
    import { zeros, type Tensor } from 'dino-ts/torch';
    import { Linear } from 'dino-ts/nn';
    import { setUp, runDoctor, type SetUpResult } from 'dino-ts/setup';
    export const result: Promise<SetUpResult> = setUp({ dryRun: true });
    export const report = await runDoctor();
    export const count: number = (await listImages('images')).items.length;
    export const tensor: Tensor = new Linear(2, 3).forward(zeros([1, 2]));
    export const model = loadModel('run');
    export type Both = [TrainSettings, TrainOptions];
    // @ts-expect-error: a path, not a number; without types this would be no error
    export const wrong = train(42);
  `;
  for (const [resolution, module, moduleResolution] of [
    ['nodenext', ts.ModuleKind.NodeNext, ts.ModuleResolutionKind.NodeNext],
    ['bundler', ts.ModuleKind.ESNext, ts.ModuleResolutionKind.Bundler],
  ] as const) {
    it(`compile strictly with ${resolution} resolution`, () => {
      const types = path.join(user.folder, 'node_modules', '@types');
      mkdirSync(types, { recursive: true });
      if (!existsSync(path.join(types, 'node')))
        symlinkSync(path.join(packageRoot, 'node_modules', '@types', 'node'), path.join(types, 'node'));
      const file = path.join(user.folder, 'consumer.mts');
      writeFileSync(file, program);
      const compiled = ts.createProgram([file], {
        ...{ strict: true, noEmit: true, skipLibCheck: true, types: ['node'], typeRoots: [types] },
        ...{ target: ts.ScriptTarget.ES2022, lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'] },
        ...{ module, moduleResolution },
      });
      const problems = ts.getPreEmitDiagnostics(compiled);
      assert.deepEqual(
        problems.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')),
        [],
      );
    });
  }
});

describe(
  'installed by npm',
  { skip: isThorough ? false : 'DINO_TEST_INSTALL=1 installs with npm, from the registry' },
  () => {
    it('npm install of the tarballs, in an empty folder, and a first training', () => {
      const project = path.join(user.folder, 'project');
      mkdirSync(project);
      writeFileSync(path.join(project, 'package.json'), '{ "private": true }');
      const files = [user.packed.main.file, user.packed.platform.file];
      execFileSync('npm', ['install', '--no-audit', '--no-fund', ...files], { cwd: project, stdio: 'pipe' });
      const lock = readFileSync(path.join(project, 'package-lock.json'), 'utf8');
      assert.doesNotMatch(lock, /"hasInstallScript": true[^}]*dino/);
      const { status, stderr } = user.node([
        path.join(project, 'node_modules', 'dino-ts', 'bin', 'dino.js'),
        'train',
        'images',
        '--output',
        'by-npm',
        ...SMALL,
      ]);
      assert.equal(status, 0, stderr);
    });
  },
);

for (const version of ['22', '24'])
  describe(
    `on Node ${version}`,
    { skip: isThorough ? false : 'DINO_TEST_INSTALL=1 fetches it from the registry' },
    () => {
      const nodes = path.join(process.env['TMPDIR'] ?? '/tmp', `dino-node-${version}-${process.pid}`);
      const node = path.join(nodes, 'node_modules', `node-${machineName()}`, 'bin', 'node');
      before(() => {
        mkdirSync(nodes, { recursive: true });
        execFileSync('npm', [
          'install',
          '--prefix',
          nodes,
          '--no-audit',
          '--no-fund',
          `node-${machineName()}@${version}`,
        ]);
      });
      after(() => execFileSync('rm', ['-r', nodes]));
      mainPaths(node, version);
    },
  );
