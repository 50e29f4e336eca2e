/** What the commands on classifiers share: where labelled images come from, and a report as text. */
import type { ClassifierReport, ShareEstimate } from '../../classify/report.js';
import type { ImageList } from '../../data/index.js';
import { printable } from '../../plain/printable.js';
import type { Output } from '../output.js';

/** Classes that the confusion matrix is printed for; more don't fit on a terminal. */
const MOST_COLUMNS = 15;
/** Characters of a class's name that are shown. */
const NAME = 24;
const MISTAKES = 5;

/** Labelled images as fitClassifier() takes them: the labels of an index are read from it. */
export async function labelledSource(source: string, io: Output): Promise<string | ImageList> {
  const { isIndexFolder } = await import('../../explore/labelled-images.js');
  if (!isIndexFolder(source)) return source;
  const [{ ImageIndex }, { labelledImages }] = await Promise.all([
    import('../../explore/image-index.js'),
    import('../../explore/labelled-images.js'),
  ]);
  using index = ImageIndex.open(source);
  const list = labelledImages(index);
  io.note(`${list.items.length} labelled images of the ${index.count} in ${source}`);
  return list;
}

export const percent = (share: number | null): string => (share === null ? '-' : (100 * share).toFixed(1));

export const estimate = ({ value, low, high }: ShareEstimate): string =>
  `${percent(value)}% (95% interval ${percent(low)} to ${percent(high)})`;

function nameOf(name: string): string {
  const plain = printable(name);
  return plain.length <= NAME ? plain : `${plain.slice(0, NAME - 3)}...`;
}

/** Columns aligned, the first to the left, the others to the right. */
export function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
}

/** @param isWhole - With the table of the classes, the confusion matrix and the worst mistakes. */
export function reportText(report: ClassifierReport, isWhole: boolean): string {
  const { from, images, accuracy, balancedAccuracy, ece, eceUncalibrated, classes, confusion, mistakes } =
    report;
  const where = from === 'validation' ? 'on validation images' : 'by cross-validation';
  const lines = [
    `accuracy ${estimate(accuracy)}, balanced ${percent(balancedAccuracy)}%, ${where} of ${images} images`,
    `calibration error ${percent(ece)}% (${percent(eceUncalibrated)}% before the temperature)`,
  ];
  if (!isWhole) return lines.join('\n');
  const table = aligned([
    ['class', 'images', 'tested', 'precision', 'recall'],
    ...classes.map((one) => [
      ...[nameOf(one.name), String(one.trainImages), String(one.images)],
      ...[percent(one.precision), percent(one.recall)],
    ]),
  ]);
  lines.push('', ...table);
  if (classes.length <= MOST_COLUMNS) {
    const header = ['class \\ predicted', ...classes.map((_, i) => String(i + 1))];
    const rows = classes.map(({ name }, c) => [`${c + 1} ${nameOf(name)}`, ...confusion[c]!.map(String)]);
    lines.push('', ...aligned([header, ...rows]));
  } else {
    const pairs = confusion
      .flatMap((row, c) => row.map((count, p) => ({ count, c, p })))
      .filter(({ count, c, p }) => count > 0 && c !== p)
      .sort((a, b) => b.count - a.count)
      .slice(0, 10);
    lines.push('', 'most confused:');
    for (const { count, c, p } of pairs)
      lines.push(`  ${count} of ${nameOf(classes[c]!.name)} as ${nameOf(classes[p]!.name)}`);
  }
  if (mistakes.length > 0) lines.push('', `${mistakes.length} mistakes, the surest first:`);
  for (const { path, label, predicted, probability } of mistakes.slice(0, MISTAKES))
    lines.push(
      `  ${printable(path)}: ${nameOf(label)}, predicted ${nameOf(predicted)} (${percent(probability)}%)`,
    );
  lines.push('');
  return lines.join('\n');
}
