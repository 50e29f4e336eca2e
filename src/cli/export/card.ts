/** The model card that `dino export` writes beside a model: see src/export/model-card.ts. */
import path from 'node:path';
import type { CardFormat } from '../../export/card-sizes.js';
import { modelCard, type ModelCardOptions, writeModelCard } from '../../export/model-card.js';
import { whichNetwork } from '../weights/options.js';
import type { ExportCall } from './options.js';

/**
 * Writes it if it is asked for, or is the custom of the format.
 * @param sizes - Of the images that what was written takes.
 * @returns The file; null without one.
 */
export function writeCard(
  { args, options, io }: ExportCall,
  format: Exclude<CardFormat, 'run'>,
  sizes: Pick<ModelCardOptions, 'imageSize' | 'resize' | 'dynamicSize'>,
): string | null {
  const isFolder = format === 'transformers';
  if (!(options.card ?? isFolder)) return null;
  const folder = isFolder ? options.output : path.dirname(options.output);
  const file = isFolder ? {} : { file: path.basename(options.output) };
  const card = modelCard(args.weights, { ...whichNetwork(options), format, ...file, ...sizes });
  const written = writeModelCard(folder, card);
  if (written === null) {
    const kept = path.join(folder, 'README.md');
    io.warn(
      `no model card was written: ${kept} is your own, or a card that was changed; move it away for a new one`,
    );
  }
  return written;
}

/** Says where it is, behind the line of a result. */
export const cardLine = (card: string | null): string => (card === null ? '' : `\n${card}: its model card`);
