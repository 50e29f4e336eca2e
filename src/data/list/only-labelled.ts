/** What an evaluation may use of a list: the images that have a label. */
import { DataError } from '../../errors.js';
import { printable } from '../../plain/printable.js';
import type { ImageList } from './image-list.js';
import { LeftOutCounter } from './left-out.js';
import { PackedImages } from './packed-images.js';

/**
 * A list with classes, without the images that have no label: they are counted, and a line says so.
 * @throws DataError when no image has a label
 */
export function onlyLabelled<L extends ImageList>(list: L): L {
  if (list.classes === null) return list;
  const isLabelled = list.items.map(({ label }) => label !== null);
  const missing = isLabelled.filter((is) => !is).length;
  if (missing === 0) return list;
  const first = list.items.at(isLabelled.indexOf(false))!.path;
  const { length } = list.items;
  if (missing === length)
    throw new DataError(`None of the ${length} images of ${printable(list.source)} has a label.`);
  const counter = new LeftOutCounter();
  counter.addAll(list.leftOut);
  isLabelled.forEach((is, i) => {
    if (!is) counter.add(list.items.at(i)!.path);
  });
  return {
    ...list,
    items: PackedImages.from(list.items).filter((i) => isLabelled[i]!),
    leftOut: counter.finish(),
    remarks: [
      ...list.remarks,
      `${printable(list.source)}: ${missing} of ${length} images ${missing === 1 ? 'has' : 'have'} no label and ` +
        `${missing === 1 ? 'was' : 'were'} left out because labels are needed here: ${printable(first)}` +
        (missing === 1 ? '' : ` and ${missing - 1} more`),
    ],
  };
}
