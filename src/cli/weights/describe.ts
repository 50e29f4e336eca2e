/** The text of `dino info`. */
import { printable } from '../../plain/printable.js';
import type { WeightsDescription } from '../../weights/describe.js';
import { show } from '../../weights/pickle-values.js';
import { isRecordName } from '../../weights/record.js';

/** Names in a line; many of them are summed up by module. */
function groups(names: readonly string[]): string {
  if (names.length <= 4) return names.map(show).join(', ');
  const counts = new Map<string, number>();
  for (const name of names) {
    const [module = name] = name.split('.');
    counts.set(module, (counts.get(module) ?? 0) + 1);
  }
  const parts = [...counts].map(([module, size]) =>
    size === 1 ? show(module) : `${show(module)} (${size} tensors)`,
  );
  return parts.slice(0, 8).join(', ') + (parts.length > 8 ? `, ${parts.length - 8} more` : '');
}

const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;
const millions = (count: number): string => `${(count / 1e6).toFixed(2)} M`;

export function formatDescription(description: WeightsDescription): string {
  const { architecture: a, run } = description;
  const lines = [
    `file          ${description.file} (${(description.bytes / 1e6).toFixed(1)} MB, ${description.dtypes.join(', ')})`,
    `architecture  ${a.arch}: width ${a.embedDim}, ${plural(a.depth, 'block')}, ` +
      (a.numHeads === 0
        ? 'no attention, '
        : `${plural(a.numHeads, 'head')}${description.headsAreGuess ? ' (a guess: --num-heads)' : ''}, patch ${a.patchSize}, `) +
      `made for ${a.imgSize} x ${a.imgSize} pixels (` +
      (a.positionsSize === undefined ? '' : `with positions for ${a.positionsSize} x ${a.positionsSize}; `) +
      `other sizes${a.wholePatches === true ? `, multiples of ${a.patchSize},` : ''} work too)`,
    `features      ${a.embedDim} numbers an image${description.patchFeatures === true ? `, and as many for each patch of ${a.patchSize} x ${a.patchSize} pixels` : ''}`,
    `parameters    backbone ${millions(description.backboneParameters)}, head ${millions(description.headParameters)}` +
      (description.outDim === null ? '' : ` with ${description.outDim} outputs`),
  ];
  if (a.channels !== undefined)
    lines.push(
      `channels      ${a.channels} as they are stored, up to 16 bits, white is 1: mean ${(a.mean ?? []).join(' ')}, ` +
        `standard deviation ${(a.std ?? []).join(' ')}`,
    );
  if (description.layout !== 'dino')
    lines.push(`names         ${description.layout === 'timm' ? "timm's" : "Hugging Face's"}, translated`);
  const { checkpoint, unused, standIns, network, otherNetworks } = description;
  if (network !== null)
    lines.push(
      `network       ${network}` +
        (otherNetworks.length === 0 ? '' : `; --checkpoint-key chooses another: ${otherNetworks.join(', ')}`),
    );
  if (checkpoint !== null) {
    const { args, epoch } = checkpoint;
    const after = epoch === null ? '' : `, after ${epoch} epochs`;
    lines.push(`checkpoint    ${checkpoint.key} of a PyTorch checkpoint${after}`);
    if (args !== null) {
      const shown = Object.entries(args).map(([name, value]) => `${name}=${String(value)}`);
      lines.push(`trained with  ${shown.join(' ')}`);
    }
  }
  if (unused.length > 0) lines.push(`not used      ${groups(unused)}`);
  if (standIns.length > 0) {
    const some = standIns.slice(0, 12).map(show).join(', ');
    const more = standIns.length > 12 ? `, ${standIns.length - 12} more` : '';
    lines.push(`not read      ${some}${more}: Python objects, not data; none of their code was run`);
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
  // what a file says about its model is in the lines above
  for (const [key, value] of Object.entries(description.metadata))
    if (!isRecordName(key)) lines.push(`metadata      ${show(key)}: ${show(value)}`);
  return lines.map(printable).join('\n'); // most of it comes from files
}
