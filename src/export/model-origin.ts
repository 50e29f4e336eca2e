/** Which weights a model began from, and under which licence those are. */
import path from 'node:path';
import { DINOV3_LICENCE, dinoV3HubModels } from '../weights/hub-dinov3.js';
import { hubModels } from '../weights/hub.js';

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

/**
 * What is known of weights by the name of their file and their architecture. The file itself is not opened: the name may be
 * one that a stranger's run gives.
 */
export function originOfFile(weights: string, arch: string): Origin {
  const official = officialName(weights);
  if (official !== null) return official;
  return { name: null, licence: arch.startsWith('dinov3') ? DINOV3_LICENCE : null };
}
