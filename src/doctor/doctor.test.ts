import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  cacheDirectory,
  findLibtorch,
  inspectLibtorch,
  libtorchToLoad,
  ownCopyDirectory,
  TORCH_VERSION,
} from '../../scripts/find-libtorch.mjs';
import { formatReport } from '../cli/doctor.js';
import { precisionProblem } from '../torch/index.js';
import { type DoctorReport, runDoctor } from './doctor.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-libtorch-'));
after(() => rmSync(folder, { recursive: true }));
const library = process.platform === 'darwin' ? 'libtorch_cpu.dylib' : 'libtorch_cpu.so';

/** A folder that looks like libtorch. */
function fakeLibtorch(name: string, version: string, headers = true): string {
  const root = path.join(folder, name);
  mkdirSync(path.join(root, 'lib'), { recursive: true });
  writeFileSync(path.join(root, 'lib', library), '');
  writeFileSync(path.join(root, 'version.py'), `__version__ = '${version}+cu132'\n`);
  if (headers) {
    mkdirSync(path.join(root, 'include', 'ATen'), { recursive: true });
    writeFileSync(path.join(root, 'include', 'ATen', 'ATen.h'), '');
  }
  return root;
}

describe('findLibtorch', () => {
  it('uses LIBTORCH first, also if it names the folder above torch/', () => {
    const root = fakeLibtorch('good', TORCH_VERSION);
    const { libtorch, tried } = findLibtorch({ LIBTORCH: root });
    assert.equal(libtorch?.source, 'LIBTORCH');
    assert.equal(libtorch.version, TORCH_VERSION);
    assert.deepEqual(tried, [{ source: 'LIBTORCH', path: root, problem: null }]);
    fakeLibtorch(path.join('site-packages', 'torch'), TORCH_VERSION);
    assert.equal(
      findLibtorch({ LIBTORCH: path.join(folder, 'site-packages') }).libtorch?.root,
      path.join(folder, 'site-packages', 'torch'),
    );
  });

  it('reports a wrong LIBTORCH and uses nothing in its place', () => {
    const { libtorch, tried } = findLibtorch({ LIBTORCH: path.join(folder, 'absent') });
    assert.equal(libtorch, null);
    assert.deepEqual(
      tried.map((place) => place.problem),
      ['does not exist'],
    );
  });

  it('says for each place why it was skipped', () => {
    const problemOf = (root: string, source: 'python' | 'LIBTORCH' = 'python') =>
      inspectLibtorch(root, source).problem;
    assert.match(problemOf(fakeLibtorch('old', '2.1.0'))!, /is version 2\.1\.0; this package is made for/);
    const bare = fakeLibtorch('bare', TORCH_VERSION, false);
    assert.equal(problemOf(bare), null);
    assert.match(inspectLibtorch(bare, 'python', { headers: true }).problem!, /no headers/);
    mkdirSync(path.join(folder, 'empty'));
    assert.match(problemOf(path.join(folder, 'empty'))!, /has no lib/);
    // with LIBTORCH you may try a different version
    assert.equal(problemOf(path.join(folder, 'old'), 'LIBTORCH'), null);
  });

  it('looks in the active Python environment before its own copy', () => {
    const env = path.join(folder, 'venv');
    const root = fakeLibtorch(path.join('venv', 'torch'), TORCH_VERSION);
    mkdirSync(path.join(env, 'bin'));
    // acts as a Python that has torch
    writeFileSync(path.join(env, 'bin', 'python'), `#!/bin/sh\necho '${root}'\n`, { mode: 0o755 });
    const { libtorch, tried } = findLibtorch({ VIRTUAL_ENV: env });
    assert.deepEqual([libtorch?.source, libtorch?.root], ['python', root]);
    assert.equal(tried[0]?.problem, 'is not set');
  });

  it('looks for a copy of a checkout, then for the one in the cache folder', () => {
    const env = { VIRTUAL_ENV: path.join(folder, 'none'), DINO_CACHE: path.join(folder, 'cache') };
    const { libtorch, tried } = findLibtorch(env);
    const last = tried.at(-1)!;
    if (libtorch === null) assert.ok(last.source === 'cache' && last.path.startsWith(env.DINO_CACHE));
    else if (libtorch.source === 'own copy') assert.ok(libtorch.root.startsWith(ownCopyDirectory));
    else assert.equal(libtorch.source, 'python');
  });
});

describe('libtorchToLoad', () => {
  it('notes what a search found, as long as that is there', () => {
    const venv = path.join(folder, 'noted');
    const root = fakeLibtorch(path.join('noted', 'torch'), TORCH_VERSION);
    mkdirSync(path.join(venv, 'bin'));
    writeFileSync(path.join(venv, 'bin', 'python'), `#!/bin/sh\necho '${root}'\n`, { mode: 0o755 });
    const DINO_CACHE = path.join(folder, 'notes');
    assert.equal(libtorchToLoad(false, { DINO_CACHE, VIRTUAL_ENV: venv }).libtorch?.source, 'python');
    const again = libtorchToLoad(false, { DINO_CACHE });
    assert.deepEqual([again.libtorch?.source, again.libtorch?.root, again.tried], ['noted', root, []]);
    const other = fakeLibtorch('other', TORCH_VERSION);
    assert.equal(libtorchToLoad(false, { DINO_CACHE, LIBTORCH: other }).libtorch?.root, other);
    writeFileSync(path.join(root, 'version.py'), "__version__ = '2.1.0'\n"); // as pip install --upgrade would
    assert.notEqual(libtorchToLoad(false, { DINO_CACHE }).libtorch?.root, root);
    rmSync(venv, { recursive: true });
    assert.notEqual(libtorchToLoad(false, { DINO_CACHE }).libtorch?.root, root);
  });

  it('takes the cache folder of the user and of the system', () => {
    assert.equal(cacheDirectory({ DINO_CACHE: '/a' }), '/a');
    assert.equal(cacheDirectory({ XDG_CACHE_HOME: '/x', HOME: '/h' }), path.join('/x', 'dino-ts'));
    assert.equal(cacheDirectory({ HOME: '/h' }, 'linux'), path.join('/h', '.cache', 'dino-ts'));
    assert.equal(cacheDirectory({ HOME: '/h' }, 'darwin'), path.join('/h', 'Library', 'Caches', 'dino-ts'));
    assert.throws(() => cacheDirectory({ HOME: '/' }, 'linux'), /set DINO_CACHE=/);
  });
});

describe('runDoctor', () => {
  it('finds nothing missing on this machine, measures it, and prints every place tried', async () => {
    const report = await runDoctor();
    assert.equal(report.ok, true, formatReport(report));
    const cpu = report.devices.find((device) => device.device === 'cpu');
    assert.deepEqual(
      cpu?.precisions.map(({ precision }) => precision),
      ['fp32', 'bf16-matmul', 'bf16', 'fp16'],
    );
    for (const { precision, problem, speed } of cpu?.precisions ?? []) {
      assert.equal(problem, precisionProblem(precision, 'cpu'));
      assert.equal((speed ?? 0) > 0.1, problem === null, `GFLOP/s of the CPU in ${precision}`);
    }
    const text = formatReport(report);
    for (const place of report.libtorchTried) assert.ok(text.includes(place.path));
    assert.match(text, /^ {2}ok {6}cpu fp32: [\d.e+]+$/m);
    assert.match(text, /^ {2}(ok {6}cpu bf16-matmul: [\d.e+]+|no {6}cpu bf16-matmul: .*bfloat16)$/m);
    assert.match(text, /^ {2}no {6}cpu fp16: it is for CUDA devices$/m);
    assert.ok(report.checks.some((check) => check.name === 'CUDA'));
  });

  it('says what to do when LIBTORCH is wrong', async () => {
    const before = process.env['LIBTORCH'];
    process.env['LIBTORCH'] = path.join(folder, 'absent');
    try {
      const report = await runDoctor();
      const check = report.checks.find((entry) => entry.name === 'libtorch');
      assert.notEqual(check?.state, 'ok');
      assert.match(formatReport(report), /-> correct LIBTORCH or unset it/);
    } finally {
      if (before === undefined) delete process.env['LIBTORCH'];
      else process.env['LIBTORCH'] = before;
    }
  });
});

describe('dino doctor', () => {
  const root = fileURLToPath(new URL('../..', import.meta.url));

  /** A copy of the package in which `without` was left out. */
  function copyOf(name: string, without: readonly string[]): string {
    const copy = path.join(folder, name);
    for (const part of ['bin', 'dist', 'scripts', 'package.json', path.join('native', 'crops', 'build')]) {
      if (without.includes(part)) continue;
      cpSync(path.join(root, part), path.join(copy, part), {
        recursive: true,
        filter: (file) =>
          !/\.(map|d\.ts|test\.js)$/.test(file) && !without.includes(path.relative(root, file)),
      });
    }
    mkdirSync(path.join(copy, 'node_modules'));
    for (const entry of readdirSync(path.join(root, 'node_modules')))
      if (!without.includes(entry))
        symlinkSync(path.join(root, 'node_modules', entry), path.join(copy, 'node_modules', entry));
    return copy;
  }

  const doctorOf = (copy: string, ...flags: string[]) =>
    spawnSync(process.execPath, [path.join(copy, 'bin', 'dino.js'), 'doctor', ...flags], {
      encoding: 'utf8',
    });

  it('exits with 0 when nothing is missing', () => {
    const { status, stdout } = doctorOf(root, '--json');
    assert.equal(status, 0, stdout);
    const report = JSON.parse(stdout) as DoctorReport;
    assert.deepEqual([report.ok, report.missing], [true, []]);
  });

  it('exits with 1 and names what is missing', () => {
    const copy = copyOf('bare', ['usearch', path.join('native', 'crops', 'build')]);
    const { status, stdout } = doctorOf(copy, '--json');
    assert.equal(status, 1, stdout);
    const report = JSON.parse(stdout) as DoctorReport;
    assert.equal(report.ok, false);
    // libtorch may or may not be installed on the machine
    const missing = report.missing.filter((name) => name !== 'libtorch');
    assert.deepEqual(missing, ['npm package usearch', 'addon torch', 'addon crops', 'engine']);
    const text = doctorOf(copy);
    assert.equal(text.status, 1);
    assert.match(text.stdout, /MISSING npm package usearch: .*\n +-> run `npm ci`/);
  });

  it('mentions what is optional, and exits with 0 without it', async () => {
    // without the studio's page and the packages that only set-up needs; the engine is this package's
    const report = await runDoctor();
    const optional = report.checks.filter(({ state }) => state === 'note').map(({ name }) => name);
    assert.equal(report.ok, true, optional.join());
    const copy = copyOf('no-page', [path.join('dist', 'web')]);
    const { stdout } = doctorOf(copy, '--json');
    const checks = (JSON.parse(stdout) as DoctorReport).checks;
    assert.equal(checks.find(({ name }) => name === "the studio's page")?.state, 'note');
  });
});
