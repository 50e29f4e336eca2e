/**
 * Makes the packages that are published, as tarballs: dino-ts, and the one with the addons for this machine's platform.
 *
 *   node scripts/package.mjs                          both, into build/packages
 *   node scripts/package.mjs main                     only dino-ts (or: platform)
 *   node scripts/package.mjs --output FOLDER
 *   node scripts/package.mjs platform --max-glibc 2.28     fails if the addons need a newer one
 *
 * It packs what set-up has built (`npm run setup`). dino-ts gets the platforms' packages of its own version as optional
 * dependencies here, and not in the checkout's package.json: a checkout compiles its addons, and `npm ci` would look for
 * packages that are not published yet.
 */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { machineName, packageRoot, TORCH_VERSION } from './find-libtorch.mjs';
import { SetupError } from './setup-error.mjs';

/** The platforms that have a package, with npm's names; src/native-addons.ts lists them, too. */
export const PLATFORMS = {
  'linux-x64': { os: ['linux'], cpu: ['x64'], libc: ['glibc'] },
  'linux-arm64': { os: ['linux'], cpu: ['arm64'], libc: ['glibc'] },
  'darwin-arm64': { os: ['darwin'], cpu: ['arm64'] },
};
const ADDONS = ['torch', 'crops'];

const inRoot = (...parts) => path.join(packageRoot, ...parts);
const readManifest = () => JSON.parse(readFileSync(inRoot('package.json'), 'utf8'));

function npm(args, cwd) {
  const [command, ...prefix] = process.env.npm_execpath?.endsWith('.js')
    ? [process.execPath, process.env.npm_execpath]
    : ['npm'];
  return execFileSync(command, [...prefix, ...args], {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: 2 ** 26,
    shell: process.platform === 'win32' && command === 'npm',
  });
}

/** Packs a folder. @returns {{ file: string, bytes: number, unpacked: number, files: number }} */
function pack(folder, output) {
  mkdirSync(output, { recursive: true });
  const printed = npm(['pack', '--json', '--ignore-scripts', '--pack-destination', output], folder);
  const [packed] = Object.values(JSON.parse(printed));
  const file = path.join(output, packed.filename.replace('@', '').replace('/', '-'));
  return { file, bytes: statSync(file).size, unpacked: packed.unpackedSize, files: packed.files.length };
}

/** The files that `npm pack` would take from the checkout. */
export function packedFiles() {
  const [packed] = Object.values(
    JSON.parse(npm(['pack', '--dry-run', '--json', '--ignore-scripts'], packageRoot)),
  );
  return packed.files.map((file) => file.path);
}

/** The manifest that is published: without what only a checkout can use. */
export function publishedManifest(manifest) {
  const { devDependencies, scripts, imports, ...published } = manifest;
  void [devDependencies, scripts, imports];
  return {
    ...published,
    optionalDependencies: Object.fromEntries(
      Object.keys(PLATFORMS).map((name) => [`@dino-ts/${name}`, manifest.version]),
    ),
  };
}

/** dino-ts itself. */
export function packMain(output) {
  for (const built of ['dist/index.js', 'dist/web/index.html', 'dist/share/index.html'])
    if (!existsSync(inRoot(built))) throw new SetupError(`${built} is not built: run npm run setup`);
  const staging = mkdtempSync(path.join(os.tmpdir(), 'dino-package-'));
  try {
    for (const file of packedFiles()) {
      mkdirSync(path.dirname(path.join(staging, file)), { recursive: true });
      copyFileSync(inRoot(file), path.join(staging, file));
    }
    const manifest = publishedManifest(readManifest());
    writeFileSync(path.join(staging, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    return pack(staging, output);
  } finally {
    rmSync(staging, { recursive: true });
  }
}

/** Debugging symbols and names that nothing links to are a quarter of an addon. */
function strip(file) {
  const args = process.platform === 'darwin' ? ['-x', file] : ['--strip-unneeded', file];
  try {
    execFileSync('strip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    throw new SetupError(`strip can't be run on ${file} (it comes with the compiler): ${error.message}`);
  }
}

const newest = (versions) =>
  versions
    .sort((a, b) => {
      const [x, y] = [a, b].map((version) => version.split('.').map(Number));
      return x.map((part, i) => part - (y[i] ?? 0)).find(Boolean) ?? x.length - y.length;
    })
    .at(-1);

/** The newest glibc and libstdc++ whose names an addon refers to, on Linux. */
function neededVersions(file) {
  if (process.platform !== 'linux') return {};
  const text = execFileSync('objdump', ['-T', file], { encoding: 'utf8', maxBuffer: 2 ** 26 });
  const of = (name) =>
    newest([...text.matchAll(new RegExp(`\\b${name}_(\\d+(?:\\.\\d+)+)`, 'g'))].map((found) => found[1]));
  return { glibc: of('GLIBC'), libstdcxx: of('GLIBCXX') };
}

function readme(name, needs) {
  const lines = Object.entries(needs).map(
    ([library, version]) =>
      `- ${library === 'glibc' ? 'glibc' : "GCC's libstdc++ (GLIBCXX_)"} ${version} or newer`,
  );
  return [
    `# @dino-ts/${name}`,
    '',
    `The compiled addons of [dino-ts](https://www.npmjs.com/package/dino-ts) for ${name}. It is an optional dependency of`,
    'that package; nothing else uses it.',
    '',
    `They are for Node.js 20.19 or newer (Node-API 8) and libtorch ${TORCH_VERSION}, which \`npx dino setup\` fetches if no`,
    'PyTorch of that version is installed.',
    ...(lines.length === 0 ? [] : ['', 'They need:', '', ...lines]),
    '',
  ].join('\n');
}

/** The package of this machine's platform. */
export function packPlatform(output, maxGlibc) {
  const name = machineName();
  const about = PLATFORMS[name];
  if (about === undefined)
    throw new SetupError(`There is no package for ${name}, only for ${Object.keys(PLATFORMS).join(', ')}`);
  const manifest = readManifest();
  const staging = mkdtempSync(path.join(os.tmpdir(), 'dino-package-'));
  try {
    const needs = {};
    for (const addon of ADDONS) {
      const built = inRoot('native', addon, 'build', `${addon}.node`);
      if (!existsSync(built)) throw new SetupError(`${built} is not built: run npm run setup`);
      const file = path.join(staging, `${addon}.node`);
      copyFileSync(built, file);
      strip(file);
      if (readFileSync(file).includes(packageRoot))
        throw new SetupError(`${built} names a folder of this machine (${packageRoot}): compile it again`);
      for (const [library, version] of Object.entries(neededVersions(file)))
        needs[library] = newest([version, needs[library]].filter(Boolean));
    }
    if (maxGlibc !== undefined && newest([needs.glibc, maxGlibc]) !== maxGlibc)
      throw new SetupError(
        `the addons need glibc ${needs.glibc}; it should be at most ${maxGlibc}: compile on an older system`,
      );
    writeFileSync(path.join(staging, 'README.md'), readme(name, needs));
    copyFileSync(inRoot('LICENSE'), path.join(staging, 'LICENSE'));
    const published = {
      name: `@dino-ts/${name}`,
      version: manifest.version,
      description: `The compiled addons of dino-ts for ${name}`,
      license: manifest.license,
      ...about,
      engines: manifest.engines,
      preferUnplugged: true, // yarn: a library is opened by the system, which can't read archives
      files: ADDONS.map((addon) => `${addon}.node`),
      exports: {
        './package.json': './package.json',
        ...Object.fromEntries(ADDONS.map((addon) => [`./${addon}.node`, `./${addon}.node`])),
      },
    };
    writeFileSync(path.join(staging, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
    return { ...pack(staging, output), needs };
  } finally {
    rmSync(staging, { recursive: true });
  }
}

function main(args) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      output: { type: 'string', default: inRoot('build', 'packages') },
      'max-glibc': { type: 'string' },
    },
  });
  const wrong = positionals.filter((name) => name !== 'main' && name !== 'platform');
  if (wrong.length > 0) throw new SetupError(`expected main, platform or nothing, got ${wrong.join(' ')}`);
  const output = path.resolve(values.output);
  const makes = (name) => positionals.length === 0 || positionals.includes(name);
  const made = [
    ...(makes('main') ? [packMain(output)] : []),
    ...(makes('platform') ? [packPlatform(output, values['max-glibc'])] : []),
  ];
  for (const { file, bytes, unpacked, files, needs } of made) {
    const needed = Object.entries(needs ?? {}).map((need) => need.join(' '));
    console.log(
      `${file}: ${(bytes / 1e6).toFixed(2)} MB, ${(unpacked / 1e6).toFixed(2)} MB unpacked, ${files} files` +
        (needed.length === 0 ? '' : `; needs ${needed.join(', ')}`),
    );
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
