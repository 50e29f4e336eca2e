/**
 * Where the two addons are: compiled on this machine, beside their sources, or in the package for this platform, which npm
 * installs as an optional dependency.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageVersion } from './version.js';

export type AddonName = 'torch' | 'crops';

/** At which level of vector instructions an addon's own loops run; `DINO_VECTORS` chooses another than the best. */
export interface VectorReport {
  /** 'base', 'v3' or 'v4' (x86-64-v3 and -v4: AVX2, AVX-512). */
  level: string;
  /** What this machine has, the best last. */
  available: string[];
}

/** An addon's file, and whether it was compiled on this machine or came in the platform's package. */
export interface AddonPlace {
  file: string;
  from: 'compiled' | 'package';
}

/** The platforms with a package of compiled addons. */
export const PREBUILT_PLATFORMS: readonly string[] = ['linux-x64', 'linux-arm64', 'darwin-arm64'];

export const platformName = `${process.platform}-${process.arch}`;
export const platformPackage = `@dino-ts/${platformName}`;

const require = createRequire(import.meta.url);
const packageFolder = fileURLToPath(new URL('..', import.meta.url));

const isCheckout = existsSync(path.join(packageFolder, 'scripts', 'setup.mjs'));
/** What gets a missing part: in a checkout its set-up, in an installed package the command. */
export const setupCommand = isCheckout ? '`npm run setup` in the package folder' : '`npx dino setup`';
/** What compiles the addons on this machine. */
export const compileCommand = isCheckout ? setupCommand : '`npx dino setup --compile`';

/** native/NAME/build/NAME.node, or that of the folder `DINO_NATIVE_BUILD` names in place of `build`. */
function compiledFile(name: AddonName): string {
  const build = process.env['DINO_NATIVE_BUILD'] ?? 'build';
  return path.join(packageFolder, 'native', name, build, `${name}.node`);
}

/** The folder of the platform's package, or why it can't be used. */
function platformFolder(): { folder: string } | { problem: string } {
  let manifest: string;
  try {
    manifest = require.resolve(`${platformPackage}/package.json`);
  } catch {
    return {
      problem: PREBUILT_PLATFORMS.includes(platformName)
        ? 'is not installed'
        : `does not exist: packages are made for ${PREBUILT_PLATFORMS.join(', ')}`,
    };
  }
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
  return version === packageVersion
    ? { folder: path.dirname(manifest) }
    : { problem: `is version ${version}, and dino-ts is ${packageVersion}` };
}

/** Where an addon is, or every place that was looked at. */
export function findAddon(name: AddonName): AddonPlace | { tried: string[] } {
  const compiled = compiledFile(name);
  if (existsSync(compiled)) return { file: compiled, from: 'compiled' };
  const tried = [`${compiled} (compiled on this machine) does not exist`];
  if (process.env['DINO_NATIVE_BUILD'] !== undefined) return { tried };
  const found = platformFolder();
  if ('problem' in found) return { tried: [...tried, `${platformPackage} ${found.problem}`] };
  const file = path.join(found.folder, `${name}.node`);
  return existsSync(file) ? { file, from: 'package' } : { tried: [...tried, `${file} does not exist`] };
}

/** Alpine and other systems whose C library is musl. */
function isMusl(): boolean {
  if (process.platform !== 'linux') return false;
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime === undefined;
}

/** What helps where an addon was not found. */
export function missingAddonAdvice(): string[] {
  if (isMusl())
    return ["a system with glibc, such as the image node:22-slim: PyTorch has no library for Alpine's musl"];
  const install =
    '`npm install --include=optional`: npm leaves the package out with --omit=optional, and with a lock file that was ' +
    'written on another platform';
  return [
    ...(PREBUILT_PLATFORMS.includes(platformName) && !isCheckout ? [install] : []),
    `${compileCommand}: compiles it (this needs a C++20 compiler)`,
  ];
}

/** What is wrong and what helps, for a platform on which an addon was not found. */
export function missingAddonMessage(name: AddonName, tried: readonly string[]): string {
  const list = (lines: readonly string[]): string => lines.map((line) => `  ${line}`).join('\n');
  return (
    `the ${name} addon for ${platformName} was not found. Looked for:\n${list(tried)}\n` +
    `What helps:\n${list(missingAddonAdvice())}`
  );
}

/** What helps when an addon that is there can't be loaded. */
export function unloadableAddonAdvice({ from }: AddonPlace, reason: string): string {
  if (/GLIBC(XX)?_/.test(reason))
    return `This system is older than the one that it was compiled on: ${compileCommand} compiles it here.`;
  return from === 'compiled'
    ? `Compile it again: ${compileCommand}.`
    : `Install it again, or compile it: ${compileCommand}.`;
}

/** Whether an error of a load is about the level asked for, and not about the addon: `DINO_VECTORS=v9 is not a level ...`. */
export function isVectorProblem(error: unknown): error is Error {
  return error instanceof Error && error.message.startsWith('DINO_VECTORS=');
}
