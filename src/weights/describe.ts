/** What `dino info` tells of a run, a checkpoint or a weights file; reads headers and small files only. */
import { printable } from '../printable.js';
import { lastLine, metricsPath, readRunConfig } from '../train/run-folder.js';
import type { Architecture } from './architecture.js';
import { openNetwork } from './network.js';

export interface WeightsDescription {
  file: string;
  bytes: number;
  format: 'safetensors' | 'pth';
  /** Whose names the tensors have: the reference's (timm's are the same), or Hugging Face's. */
  layout: 'dino' | 'transformers';
  checkpointKey: string;
  architecture: Architecture;
  /** Number of values in the backbone and in the head. */
  backboneParameters: number;
  headParameters: number;
  /** K, when the file has a head. */
  outDim: number | null;
  dtypes: string[];
  /** Tensors that are of no use here, such as a classifier's. */
  unused: string[];
  /** Of a PyTorch file with several networks: the one taken, the epochs behind it, its training's settings. */
  checkpoint: { key: string; epoch: number | null; args: Record<string, unknown> | null } | null;
  metadata: Record<string, string>;
  run: {
    folder: string;
    step: number | null;
    version: string;
    images: string;
    imageCount: number;
    epochs: number;
    /** The last line of metrics.jsonl that belongs to a step. */
    lastMetrics: Record<string, unknown> | null;
  } | null;
}

const count = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** @throws CheckpointError when there are no weights, or not of a backbone that is known. */
export function describeWeights(
  weights: string,
  options: { checkpointKey?: string } = {},
): WeightsDescription {
  const key = options.checkpointKey ?? 'teacher';
  const { located, file, found, architecture } = openNetwork(weights, { checkpointKey: key });
  file[Symbol.dispose]();
  const { entries, metadata } = file;
  const shapeOf = new Map(entries.map(({ name, shape }) => [name, shape]));
  const headShapes = [...found.head.values()].map((name) => shapeOf.get(name) ?? []);
  const lastLayer = shapeOf.get(found.head.get('last_layer.weight_v') ?? ''); // (K, bottleneck)
  let run: WeightsDescription['run'] = null;
  if (located.run !== null && located.settings !== null) {
    const { version, images, imageCount } = readRunConfig(located.run);
    run = {
      folder: located.run,
      step: located.step,
      ...{ version, images, imageCount },
      epochs: located.settings.epochs,
      lastMetrics: lastLine(metricsPath(located.run), ({ loss }) => typeof loss === 'number'),
    };
  }
  return {
    file: located.file,
    bytes: file.bytes,
    format: file.format,
    layout: found.layout,
    checkpointKey: file.checkpoint?.key ?? key,
    architecture,
    backboneParameters: [...found.shapes]
      .filter(([name]) => !/(running_(mean|var)|num_batches_tracked)$/.test(name))
      .reduce((sum, [, shape]) => sum + count(shape), 0),
    headParameters: headShapes.reduce((sum, shape) => sum + count(shape), 0),
    outDim: lastLayer?.[0] ?? null,
    dtypes: [...new Set(entries.map((entry) => entry.dtype))],
    unused: found.unused,
    checkpoint: file.checkpoint,
    metadata: { ...metadata },
    run,
  };
}

const millions = (count: number): string => `${(count / 1e6).toFixed(2)} M`;

export function formatDescription(description: WeightsDescription): string {
  const { architecture: a, run } = description;
  const lines = [
    `file          ${description.file} (${(description.bytes / 1e6).toFixed(1)} MB, ${description.dtypes.join(', ')})`,
    `architecture  ${a.arch}: width ${a.embedDim}, ${a.depth} blocks, ` +
      (a.numHeads === 0 ? 'no attention, ' : `${a.numHeads} heads, patch ${a.patchSize}, `) +
      `made for ${a.imgSize} x ${a.imgSize} pixels (others work too)`,
    `parameters    backbone ${millions(description.backboneParameters)}, head ${millions(description.headParameters)}` +
      (description.outDim === null ? '' : ` with ${description.outDim} outputs`),
  ];
  if (description.layout === 'transformers') lines.push("names         Hugging Face's, translated");
  const { checkpoint, unused } = description;
  if (checkpoint !== null) {
    const { args, epoch } = checkpoint;
    const after = epoch === null ? '' : `, after ${epoch} epochs`;
    lines.push(`checkpoint    ${checkpoint.key} of a PyTorch checkpoint${after}`);
    if (args !== null) {
      const shown = Object.entries(args).map(([name, value]) => `${name}=${String(value)}`);
      lines.push(`trained with  ${shown.join(' ')}`);
    }
  }
  if (unused.length > 0) {
    lines.push(
      `not used      ${unused.slice(0, 4).join(', ')}${unused.length > 4 ? `, ${unused.length - 4} more` : ''}`,
    );
  }
  if (run !== null) {
    lines.push(
      `run           ${run.folder}, ${run.epochs} epochs planned, this is step ${run.step ?? 'unknown'} (${description.checkpointKey})`,
      `images        ${run.imageCount} of ${run.images}`,
      `made with     version ${run.version}`,
    );
    const loss = run.lastMetrics?.['loss'];
    const entropy = run.lastMetrics?.['teacherEntropy'];
    if (typeof loss === 'number') {
      const more = typeof entropy === 'number' ? `, teacher entropy ${entropy.toFixed(3)}` : '';
      lines.push(`last metrics  loss ${loss.toFixed(4)}${more}`);
    }
  }
  for (const [key, value] of Object.entries(description.metadata))
    lines.push(`metadata      ${key}: ${value}`);
  return lines.map(printable).join('\n'); // most of it is what files say
}
