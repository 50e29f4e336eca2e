/**
 * Gets what this machine lacks: libtorch, and the addons where the platform has no package of them. `dino setup` in an
 * installed package; a checkout has `npm run setup`, which does the same and builds the rest. Nothing here imports the engine
 * before it is there.
 */
import { buildNative, findCompiler } from '../../scripts/build-native.mjs';
import { fetchLibtorch } from '../../scripts/fetch-libtorch.mjs';
import {
  cachedCopyDirectory,
  findLibtorch,
  type Libtorch,
  noteLibtorch,
} from '../../scripts/find-libtorch.mjs';
import { SetupError } from '../../scripts/setup-error.mjs';
import { EngineError } from '../errors.js';
import { findAddon, type AddonName } from '../native-addons.js';
import { callback, checkCall, optionsOf, yesOrNo } from '../plain/check-options.js';

export interface SetUpOptions {
  /** Compile the addons on this machine, also where there is a package of them. Needs a C++20 compiler. */
  compile?: boolean;
  /** Only say what is missing and what would be done. */
  dryRun?: boolean;
  /** Called with lines that say what is done. */
  onLine?: (line: string) => void;
  /** Bytes of what is downloaded. */
  onProgress?: (progress: { done: number; total: number }) => void;
}

export interface SetUpResult {
  /** The folder of libtorch; with `dryRun`, where it would be. */
  libtorch: string;
  /** Where each addon is from; null for one that is missing, which happens only with `dryRun`. */
  addons: Record<AddonName, 'package' | 'compiled' | null>;
  /** Bytes that were downloaded. */
  downloaded: number;
  /** The version of libtorch that was loaded to try it; null with `dryRun`. */
  version: string | null;
}

const setUpOptions = optionsOf<SetUpOptions>(
  {},
  { compile: yesOrNo, dryRun: yesOrNo, onLine: callback, onProgress: callback },
);

const originOf = (name: AddonName): 'package' | 'compiled' | null => {
  const place = findAddon(name);
  return 'from' in place ? place.from : null;
};
const origins = (): SetUpResult['addons'] => ({ torch: originOf('torch'), crops: originOf('crops') });

/** A libtorch that is there, or one that is fetched. */
async function getLibtorch(
  headers: boolean,
  { dryRun = false, onLine = () => {}, onProgress = () => {} }: SetUpOptions,
): Promise<{ libtorch: Libtorch | null; root: string; downloaded: number }> {
  const found = findLibtorch(process.env, { headers });
  if (found.libtorch !== null) {
    const { version, root, source } = found.libtorch;
    onLine(`libtorch ${version} in ${root} (${source})`);
    return { libtorch: found.libtorch, root, downloaded: 0 };
  }
  if (process.env['LIBTORCH']) {
    throw new EngineError(
      `LIBTORCH=${process.env['LIBTORCH']} ${found.tried[0]?.problem ?? ''}. Set it to the folder that contains lib/` +
        `${headers ? ' and include/' : ''}, or unset it.`,
    );
  }
  for (const { source, path, problem } of found.tried) onLine(`libtorch: ${source} ${path} ${problem ?? ''}`);
  const { bytes } = await fetchLibtorch({ headers, dryRun, log: onLine, onProgress });
  if (dryRun) return { libtorch: null, root: cachedCopyDirectory(), downloaded: 0 };
  const { libtorch } = findLibtorch(process.env, { headers });
  if (libtorch === null) throw new EngineError('internal: libtorch was not found after it was fetched');
  return { libtorch, root: libtorch.root, downloaded: bytes };
}

async function install(options: SetUpOptions): Promise<SetUpResult> {
  const { compile = false, dryRun = false, onLine = () => {} } = options;
  const before = origins();
  const compiles = compile || Object.values(before).includes(null);
  if (compiles) {
    const { command, version } = findCompiler(); // before half a gigabyte is unpacked
    onLine(
      `addons: ${compile ? '' : `there is no package of them for this platform; `}compiled with ${command} (${version})`,
    );
  } else
    onLine(`addons: ${Object.values(before).includes('package') ? 'prebuilt' : 'compiled on this machine'}`);
  const { libtorch, root, downloaded } = await getLibtorch(compiles, options);
  if (dryRun || libtorch === null) return { libtorch: root, addons: before, downloaded, version: null };
  if (compiles) await buildNative({ libtorch, log: onLine });
  if (!process.env['LIBTORCH']) noteLibtorch(libtorch);
  const { torchVersion } = await import('../torch/index.js'); // loads it
  return { libtorch: root, addons: origins(), downloaded, version: torchVersion };
}

/**
 * Finds libtorch, or fetches it into the user's cache folder, and compiles the addons where the platform has no package of
 * them; then loads both. What is already there is left as it is.
 *
 * @throws EngineError that says what to do: no network, no space, a folder that can't be written, no compiler, no library
 *   for this machine; ConfigError for wrong options.
 */
export async function setUp(options: SetUpOptions = {}): Promise<SetUpResult> {
  checkCall('setUp()', ['options', setUpOptions, options]);
  try {
    return await install(options);
  } catch (error) {
    if (error instanceof SetupError) throw new EngineError(error.message, { cause: error });
    throw error;
  }
}
