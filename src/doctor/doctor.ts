/**
 * Checks the set-up and says what to do about each missing part. It works without libtorch and without the addons, so no
 * part of the engine is imported before it is known to exist.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  findLibtorch,
  libtorchToLoad,
  packageRoot,
  TORCH_VERSION,
  type TriedPlace,
} from '../../scripts/find-libtorch.mjs';
import { type Precision, PRECISIONS } from '../plain/precisions.js';
import { gibibytes } from '../plain/units.js';
import {
  type AddonName,
  findAddon,
  isVectorProblem,
  missingAddonAdvice,
  setupCommand,
} from '../native-addons.js';

export interface Check {
  name: string;
  /** `missing` breaks the program; `note` does not. */
  state: 'ok' | 'missing' | 'note';
  detail: string;
  /** What to do, if anything. */
  advice?: string;
}

export interface PrecisionReport {
  precision: Precision;
  /** Why it brings nothing here; null when `--precision auto` tries it. */
  problem: string | null;
  /** GFLOP/s of matrix products; null where they are not measured. */
  speed: number | null;
}

export interface DeviceReport {
  device: string;
  /** In the order in which `--precision` lists them. */
  precisions: PrecisionReport[];
}

export interface DoctorReport {
  /** Nothing is missing that the package needs. */
  ok: boolean;
  /** Names of the failed checks. */
  missing: string[];
  versions: Record<string, string>;
  /** Every place that was searched for libtorch. */
  libtorchTried: TriedPlace[];
  checks: Check[];
  devices: DeviceReport[];
}

const SETUP = `run ${setupCommand}`;
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function compilerVersion(): string | null {
  for (const command of process.env['CXX'] ? [process.env['CXX']] : ['c++', 'g++', 'clang++']) {
    try {
      const out = execFileSync(command, ['--version'], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      return `${command}: ${out.split('\n')[0] ?? ''}`;
    } catch {
      continue;
    }
  }
  return null;
}

/** Packages with compiled code, which may be installed but not fit this machine. */
const COMPILED = ['sharp', 'usearch'];
/** Packages that only compiling the addons needs. */
const COMPILING_PACKAGES = ['node-addon-api', 'node-api-headers'];

const packages = createRequire(import.meta.url);

/** Whether a package is installed and, if it has compiled code, whether it loads. */
function packageCheck(name: string): Check {
  try {
    if (COMPILED.includes(name)) packages(name);
    else if (process.versions['pnp'] !== undefined) {
      // yarn's Plug'n'Play has no node_modules; its resolver throws
      const pnp = packages('pnpapi') as { resolveToUnqualified: (request: string, issuer: string) => string };
      pnp.resolveToUnqualified(name, fileURLToPath(import.meta.url));
    } else if (!(packages.resolve.paths(name) ?? []).some((folder) => existsSync(path.join(folder, name))))
      throw new Error('not found in any node_modules folder from here up');
    return {
      name: `npm package ${name}`,
      state: 'ok',
      detail: COMPILED.includes(name) ? 'loads' : 'installed',
    };
  } catch (error) {
    return {
      name: `npm package ${name}`,
      state: 'missing',
      detail: messageOf(error).split('\n')[0]!,
      advice: 'run `npm ci`',
    };
  }
}

function addonCheck(name: AddonName): Check {
  const place = findAddon(name);
  if ('file' in place) {
    const origin = place.from === 'compiled' ? 'compiled on this machine' : 'prebuilt';
    return { name: `addon ${name}`, state: 'ok', detail: `${place.file} (${origin})` };
  }
  return {
    name: `addon ${name}`,
    state: 'missing',
    detail: place.tried.join('; '),
    advice: missingAddonAdvice().join('; or '),
  };
}

/** Only the studio needs its page. */
function pageCheck(): Check {
  const page = path.join(packageRoot, 'dist', 'web', 'index.html');
  return existsSync(page)
    ? { name: "the studio's page", state: 'ok', detail: page }
    : { name: "the studio's page", state: 'note', detail: `${page} does not exist`, advice: SETUP };
}

/** GFLOP/s by precision of each device; imported late, because it loads libtorch. */
async function measureDevices(versions: Record<string, string>, checks: Check[]): Promise<DeviceReport[]> {
  const torch = await import('../torch/index.js');
  const { cropsVectors } = await import('../data/crops/crops.js');
  versions['libtorch'] = torch.torchVersion;
  versions['CPU kernels'] = torch.cpuCapability();
  const { level, available } = torch.torchVectors();
  versions['own loops'] =
    `native/torch ${level}, native/crops ${cropsVectors().level}; this machine supports ${available.join(', ')}`;
  versions['threads'] = String(torch.getNumThreads());
  const reason = torch.cudaUnavailableReason();
  checks.push(
    reason === null
      ? { name: 'CUDA', state: 'ok', detail: `${torch.cudaDeviceCount()} device(s)` }
      : { name: 'CUDA', state: 'note', detail: `not used: ${reason}` },
  );
  const reports: DeviceReport[] = [];
  for (const device of torch.availableDevices()) {
    const speed = (precision: Precision): number | null => {
      try {
        const dtype = torch.dtypeOf(precision);
        const measured = torch.withProductsOf(precision, () => torch.measureMatmul(device, dtype));
        return Number(measured.toPrecision(3));
      } catch {
        return null; // the device has no kernels for it
      }
    };
    const precisions = PRECISIONS.map((precision): PrecisionReport => {
      const problem = torch.precisionProblem(precision, device);
      return { precision, problem, speed: problem === null ? speed(precision) : null };
    });
    reports.push({ device, precisions });
  }
  return reports;
}

/** Checks everything; never throws for something missing. Takes about a second with libtorch installed. */
export async function runDoctor(): Promise<DoctorReport> {
  const checks: Check[] = [];
  const manifest = JSON.parse(readFileSync(path.join(packageRoot, 'package.json'), 'utf8')) as {
    version: string;
    dependencies: Record<string, string>;
  };
  const versions: Record<string, string> = {
    package: manifest.version,
    node: process.versions.node,
    platform: `${process.platform} ${process.arch}`,
    CPU: `${os.cpus()[0]?.model.trim() ?? 'unknown'}, ${os.availableParallelism()} cores`,
    memory: gibibytes(os.totalmem()),
    'libtorch wanted': TORCH_VERSION,
  };
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const nodeIsNew = major > 20 || (major === 20 && minor >= 19);
  checks.push({
    name: 'Node.js',
    state: nodeIsNew ? 'ok' : 'missing',
    detail: `${process.versions.node}; requires 20.19 or newer`,
    ...(nodeIsNew ? {} : { advice: 'install a newer one from https://nodejs.org' }),
  });

  const compiler = compilerVersion();
  checks.push(
    compiler === null
      ? {
          name: 'C++ compiler',
          state: 'note',
          detail: 'none found; only compiling the addons needs it (Debian: apt-get install g++)',
        }
      : { name: 'C++ compiler', state: 'ok', detail: compiler },
  );
  for (const name of Object.keys(manifest.dependencies)) {
    const found = packageCheck(name);
    if (found.state === 'ok' || !COMPILING_PACKAGES.includes(name)) checks.push(found);
    else
      checks.push({ ...found, state: 'note', detail: `${found.detail}; only compiling the addons needs it` });
  }

  const { libtorch, tried } = findLibtorch();
  const torchAddon = findAddon('torch');
  const { libtorch: used } = libtorchToLoad('from' in torchAddon && torchAddon.from === 'compiled');
  checks.push(
    libtorch !== null
      ? {
          name: 'libtorch',
          state: 'ok',
          detail: `${libtorch.version} in ${libtorch.root} (${libtorch.source})`,
        }
      : {
          name: 'libtorch',
          state: used !== null ? 'note' : 'missing',
          detail: 'not found in any of the places below',
          advice: process.env['LIBTORCH'] ? 'correct LIBTORCH or unset it' : `${SETUP}, which downloads it`,
        },
  );
  if (libtorch !== null && used !== null && used.root !== libtorch.root) {
    checks.push({
      name: 'libtorch in use',
      state: 'note',
      detail: `${used.root}, noted at set-up, not the libtorch found now`,
      advice: `to use ${libtorch.root}, ${SETUP}`,
    });
  }
  if (libtorch !== null && libtorch.version !== TORCH_VERSION) {
    checks.push({
      name: 'libtorch version',
      state: 'note',
      detail: `${libtorch.version}; this package was made for ${TORCH_VERSION}, some operators may differ`,
    });
  }
  checks.push(addonCheck('torch'), addonCheck('crops'));

  let devices: DeviceReport[] = [];
  if (used !== null && 'file' in torchAddon) {
    try {
      devices = await measureDevices(versions, checks);
      checks.push({
        name: 'engine',
        state: 'ok',
        detail: `libtorch ${versions['libtorch'] ?? ''} loads and multiplies matrices`,
      });
    } catch (error) {
      const advice = error instanceof Error && isVectorProblem(error.cause) ? {} : { advice: SETUP };
      checks.push({ name: 'engine', state: 'missing', detail: messageOf(error), ...advice });
    }
  } else {
    checks.push({ name: 'engine', state: 'missing', detail: 'not loaded: see above', advice: SETUP });
  }
  checks.push(pageCheck());
  const missing = checks.filter(({ state }) => state === 'missing').map(({ name }) => name);
  return { ok: missing.length === 0, missing, versions, libtorchTried: tried, checks, devices };
}
