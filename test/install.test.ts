/**
 * The packages from their tarballs, in an empty folder without a compiler and Python: what a user sees who runs
 * `npm install dino-ts`. libtorch is that of this machine, in the user's cache folder.
 * What comes from a registry is in install-registry.test.ts.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import ts from 'typescript';
import { Installed, SMALL_RUN } from '#built/testing/installed.js';
import { makeImageFolder } from '#built/testing/image-folder.js';
import { libtorchInUse } from '#built/torch/native.js';
import { machineName, packageRoot, TORCH_VERSION } from '#scripts/find-libtorch.mjs';
import { mainPaths } from './main-paths.js';

let user: Installed;
before(async () => {
  user = new Installed();
  await makeImageFolder(path.join(user.folder, 'images'), { classes: 3, perClass: 20 });
});
after(() => user[Symbol.dispose]());

describe('before libtorch is there', () => {
  before(() => user.emptyCache());

  it('help and version work', () => {
    assert.match(user.dino(['--help']).stdout, /setup +get what is missing/);
    assert.equal(user.dino(['--version']).status, 0);
  });

  it('the first command that needs it says what was looked for, and what helps', () => {
    const { status, stderr } = user.dino(['train', 'images', '--output', 'run', ...SMALL_RUN]);
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
    for (const command of [['setup'], ['train', 'images', '--output', 'run', ...SMALL_RUN]]) {
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
    const trained = user.dino(['train', 'images', '--output', 'run', ...SMALL_RUN]);
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
    const { stderr } = user.dino(['train', 'images', '--output', 'run', ...SMALL_RUN]);
    renameSync(user.platformFolder, path.join(user.folder, 'other-version'));
    assert.match(stderr, /is version 0\.0\.1, and dino-ts is \d/);
  });
});

describe('with libtorch in the cache folder', () => {
  mainPaths(() => ({ user }), 'this');

  it('dino setup has nothing to do, and the search is noted', () => {
    const { status, stdout, stderr } = user.dino(['setup', '--json']);
    assert.equal(status, 0, stderr);
    assert.equal((JSON.parse(stdout) as { downloaded: number }).downloaded, 0);
    assert.ok(user.inHome().some((name) => name.endsWith(`${machineName()}.json`)));
  });

  it(
    'runs for a user who may write neither into node_modules nor into the home folder',
    { skip: process.getuid?.() !== 0 && 'only root can start a program as another user' },
    (test) => {
      const nobody = { uid: 65534, gid: 65534 };
      for (const place of [process.execPath, libtorchInUse.lib, path.join(packageRoot, 'node_modules')])
        if (spawnSync('test', ['-r', place], nobody).status !== 0)
          return test.skip(`another user can't read ${place}`);
      chmodSync(user.folder, 0o755);
      const own = mkdtempSync(path.join(os.tmpdir(), 'dino-nobody-'));
      chownSync(own, nobody.uid, nobody.gid);
      try {
        const trained = user.dino(['train', 'images', '--output', path.join(own, 'run'), ...SMALL_RUN], {
          as: nobody,
        });
        assert.equal(trained.status, 0, trained.stderr);
        assert.ok(existsSync(path.join(own, 'run', 'metrics.jsonl')));
        const refused = user.dino(['train', 'images', '--output', 'nobody', ...SMALL_RUN], { as: nobody });
        assert.equal(refused.status, 1);
        assert.match(refused.stderr, /nobody.*may not|permission|can't be made/i);
        assert.doesNotMatch(refused.stderr, /internal:|\n {4}at /);
      } finally {
        rmSync(own, { recursive: true });
      }
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
