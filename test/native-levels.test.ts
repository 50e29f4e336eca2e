/**
 * Both addons at each level of vector instructions that this machine has: the tests of the loops, which run at the best
 * level with the rest of the suite, once more at each of the others.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { packageRoot } from '#scripts/find-libtorch.mjs';
import { runNativeTests } from '#scripts/native-tests.mjs';
import { cropsVectors } from '#built/data/crops/crops.js';
import { torchVectors } from 'dino-ts/torch';

/** What both addons say of themselves when they are asked for a level. */
function levelsAt(wanted: string): string[] {
  const modules = ['torch/index.js', 'data/crops/crops.js'].map((file) =>
    path.join(packageRoot, 'dist', file),
  );
  const program = `
    import { torchVectors } from ${JSON.stringify(modules[0])};
    import { cropsVectors } from ${JSON.stringify(modules[1])};
    console.log(JSON.stringify([torchVectors().level, cropsVectors().level]));`;
  const env = { ...process.env, DINO_VECTORS: wanted };
  const printed = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    env,
    encoding: 'utf8',
  });
  return JSON.parse(printed) as string[];
}

describe('levels of vector instructions', () => {
  const { level: used, available } = torchVectors();

  it('DINO_VECTORS decides for both addons; without it they take the best', () => {
    assert.deepEqual(cropsVectors(), { level: used, available });
    if (!process.env['DINO_VECTORS']) assert.equal(used, available.at(-1));
    for (const level of available) assert.deepEqual(levelsAt(level), [level, level]);
    assert.deepEqual(levelsAt('portable'), ['base', 'base']);
    assert.deepEqual(levelsAt(''), [available.at(-1), available.at(-1)]);
  });

  it('an unknown or unsupported level is an error that lists the supported ones', () => {
    const unsupported = ['v3', 'v4'].filter((level) => !available.includes(level));
    for (const wanted of ['v5', 'AVX2', ...unsupported]) {
      const { stdout, status } = spawnSync(
        process.execPath,
        [path.join(packageRoot, 'bin/dino.js'), 'doctor'],
        {
          env: { ...process.env, DINO_VECTORS: wanted },
          encoding: 'utf8',
        },
      );
      assert.notEqual(status, 0);
      const message = `DINO_VECTORS=${wanted} is not (a level of|supported by this machine).*this machine supports ${available.join(', ')}`;
      assert.match(stdout, new RegExp(`MISSING engine: ${message}`));
      assert.doesNotMatch(stdout, /-> run `npm run setup`/);
    }
  });

  it('dino doctor shows it', () => {
    const printed = execFileSync(process.execPath, [path.join(packageRoot, 'bin/dino.js'), 'doctor'], {
      env: { ...process.env, DINO_VECTORS: 'base' },
      encoding: 'utf8',
    });
    assert.match(
      printed,
      new RegExp(`native/torch base, native/crops base; this machine supports ${available.join(', ')}`),
    );
  });

  for (const level of available.filter((name) => name !== used)) {
    it(`the tests of the loops pass at ${level}`, async () => {
      const { ok, output } = await runNativeTests({ DINO_VECTORS: level });
      assert.ok(ok, output);
      assert.match(output, /^# pass [1-9]/m);
    });
  }

  // The linker keeps one copy of an inline function for all callers. If that were a copy compiled for AVX-512, the program
  // would crash on a machine without it.
  const noNm = spawnSync('nm', ['--version']).status !== 0 && 'binutils are not installed';
  it(
    'no object file of a level defines a symbol that code of another level could be linked to',
    { skip: noNm },
    () => {
      let objects = 0;
      for (const addon of ['torch', 'crops']) {
        const folder = path.join(packageRoot, 'native', addon, 'build', 'obj');
        for (const file of existsSync(folder) ? readdirSync(folder) : []) {
          if (!/\.(simd\.v\d|bf16)\.o$/.test(file)) continue;
          objects++;
          const symbols = execFileSync('nm', ['--defined-only', path.join(folder, file)], {
            encoding: 'utf8',
          });
          assert.deepEqual(symbols.match(/^\S+ [WVuwv] .*/gm), null, `${addon} ${file}`);
        }
      }
      if (process.arch === 'x64') assert.equal(objects, 16);
    },
  );
});
