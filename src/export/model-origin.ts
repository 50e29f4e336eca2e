/** Which weights a model began from, and under which licence those are. */
import path from 'node:path';
import { DINOV3_LICENCE, dinoV3HubModels } from '../weights/hub-dinov3.js';
import { hubModels } from '../weights/hub.js';
import { locateWeights } from '../weights/locate.js';

export interface Origin {
  /** The official model, when the file has its name. */
  name: { model: string; repository: string } | null;
  /** null when it is not known. */
  licence: string | typeof DINOV3_LICENCE | null;
}

const fileName = (address: string): string => path.posix.basename(new URL(address).pathname);

/** Official models by the names of their files, without endings. */
function officialName(file: string): Origin | null {
  const stem = path.basename(file).replace(/\.(pth|pt|bin|safetensors)$/, '');
  for (const { name, repository, licence, backbone, fullCheckpoint } of hubModels) {
    const names = [backbone, fullCheckpoint].flatMap((url) => (url === null ? [] : [fileName(url)]));
    if (stem === name || names.some((known) => known.replace(/\.pth$/, '') === stem))
      return { name: { model: name, repository }, licence };
  }
  for (const { name, file, licence } of dinoV3HubModels)
    if (stem === name || stem === file.replace(/\.pth$/, ''))
      return { name: { model: name, repository: 'facebookresearch/dinov3' }, licence };
  return null;
}

/** More runs that began from each other than anyone makes: two of them name each other. */
const MOST_RUNS = 100;

/** What a run began from, when these are a run's weights, of which only the settings are read; else null. */
function beginningOfRun(weights: string): { from: string | undefined } | null {
  try {
    const { run, settings } = locateWeights(weights);
    return run === null || settings === null ? null : { from: settings.init ?? settings.resumeFrom };
  } catch {
    return null; // no longer there, or not a run
  }
}

/**
 * Where weights come from, also by way of runs that each began from the weights of another.
 * @returns null when the first of these runs began from random weights.
 */
export function originOf(weights: string, arch: string): Origin | null {
  let from = weights;
  for (let i = 0; i < MOST_RUNS; i++) {
    const beginning = beginningOfRun(from);
    if (beginning === null) return originOfFile(from, arch);
    if (beginning.from === undefined) return null;
    from = beginning.from;
  }
  return { name: null, licence: null };
}

/**
 * What is known of weights by the name of their file and their architecture. The file itself is not opened: the name may be
 * one that a stranger's run gives.
 */
function originOfFile(weights: string, arch: string): Origin {
  const official = officialName(weights);
  if (official !== null) return official;
  return { name: null, licence: arch.startsWith('dinov3') ? DINOV3_LICENCE : null };
}
