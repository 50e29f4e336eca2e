/** What `npm pack` would put into the package. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { before, describe, it } from 'node:test';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { packageRoot } from '#scripts/find-libtorch.mjs';
import { packedFiles, PLATFORMS, publishedManifest } from '#scripts/package.mjs';
import { PREBUILT_PLATFORMS } from '#built/native-addons.js';

/** Names of relative modules that a file imports, as it writes them. */
const IMPORTS = /(?:\bfrom|\bimport\(?)\s*['"](\.{1,2}\/[^'"]+)['"]/g;

describe('the package', () => {
  const shipped = new Set<string>();
  before(() => {
    for (const file of packedFiles()) shipped.add(file);
  });

  it('has the program, the sources of the addons and what builds them', () => {
    for (const file of [
      ...['bin/dino.js', 'dist/index.js', 'dist/index.d.ts', 'LICENSE', 'README.md', 'CHANGELOG.md'],
      ...['scripts/build-native.mjs', 'scripts/find-libtorch.mjs', 'scripts/fetch-libtorch.mjs'],
      ...[
        'native/vectors.h',
        'native/torch/runtime.cc',
        'native/torch/include/gloo/context.h',
        'native/crops/addon.cc',
      ],
    ]) {
      assert.ok(shipped.has(file), `${file} is missing`);
    }
  });

  it('has nothing that was built for this machine, and no tests', () => {
    const unwanted =
      /\.(o|node|stamp|map|wasm)$|^native\/[^/]+\/build|\.test\.|(^|\/)(testing|fixtures)\/|^(dist\/)?test\/|^scripts\/.*test|(^|\/)\.|^(src|bench|web|tools)\//;
    assert.deepEqual(
      [...shipped].filter((file) => unwanted.test(file)),
      [],
    );
  });

  it('is published with the packages of all platforms, and without an install script', () => {
    const manifest = JSON.parse(readFileSync(path.join(packageRoot, 'package.json'), 'utf8')) as {
      version: string;
    };
    const published = publishedManifest(manifest);
    assert.deepEqual(Object.keys(PLATFORMS), PREBUILT_PLATFORMS);
    assert.deepEqual(
      published['optionalDependencies'],
      Object.fromEntries(PREBUILT_PLATFORMS.map((name) => [`@dino-ts/${name}`, manifest.version])),
    );
    for (const part of ['scripts', 'devDependencies', 'imports']) assert.ok(!(part in published), part);
  });

  it('has every file that its files import', () => {
    const missing: string[] = [];
    for (const file of shipped) {
      if (!/^(bin|dist|scripts)\/.*\.m?js$/.test(file) || /^dist\/(web|share)\//.test(file)) continue;
      for (const [, name = ''] of readFileSync(path.join(packageRoot, file), 'utf8').matchAll(IMPORTS)) {
        const target = path.posix.join(path.posix.dirname(file), name);
        if (!shipped.has(target)) missing.push(`${file} imports ${target}`);
      }
    }
    assert.deepEqual(missing, []);
  });

  it('is as programs that install it expect (publint)', async () => {
    const { messages, pkg } = await publint({ pkgDir: packageRoot, strict: true });
    assert.deepEqual(
      messages.map((message) => formatMessage(message, pkg)),
      [],
    );
  });
});
