/** Joining the processes that a launcher started together with this one. */
import { checkCall, count, optionsOf, variables } from '../plain/check-options.js';
import { getNumThreads, setNumThreads } from '../torch/index.js';
import { placeFromEnvironment } from './place.js';
import { World } from './world.js';

/** Milliseconds: long enough for a slow disk, short enough to notice. */
export const DEFAULT_TIMEOUT_MS = 300_000;

export interface JoinWorldOptions {
  /** How long to wait for the others before they count as missing, milliseconds. Default 5 minutes. */
  timeoutMs?: number;
  /** Default process.env: what torchrun, srun, mpirun, Kubeflow's PyTorchJob or `dino --nproc` set. */
  env?: Readonly<Record<string, string | undefined>>;
}

const joinOptions = optionsOf<JoinWorldOptions>({}, { timeoutMs: count(1), env: variables });

/**
 * Joins the processes that the environment names: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, or what srun
 * and mpirun set instead (docs/distributed.md). A process that was started on its own is a world of one.
 *
 * @throws ConfigError for variables that are missing or wrong, ProcessError when the others don't arrive in time or were
 *   started differently.
 *
 * @example
 * const world = await joinWorld();
 * await train({ images, output, settings, world });
 * await world.leave();
 */
export async function joinWorld(options: JoinWorldOptions = {}): Promise<World> {
  checkCall('joinWorld()', ['options', joinOptions, options]);
  const { timeoutMs = DEFAULT_TIMEOUT_MS, env } = options;
  const place = placeFromEnvironment(env);
  if (place === null) return World.alone();
  // processes share a machine's cores; torchrun, or whoever sets this variable, has already divided them
  if (process.env['OMP_NUM_THREADS'] === undefined)
    setNumThreads(Math.max(1, Math.floor(getNumThreads() / place.localSize)));
  return World.join({ place, timeoutMs });
}
