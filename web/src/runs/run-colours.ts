/** A colour for each run, in lists and charts: the browser keeps them, so that a run has its own wherever it is shown. */
import { runs } from '../live.ts';

const KEY = 'dino-studio-run-colours';
/** Runs whose colours are kept, those of deleted ones among them. */
const KEPT = 2000;

function load(): Map<string, number> {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    const pairs = Array.isArray(kept) ? (kept as unknown[]) : [];
    return new Map(
      pairs.filter(
        (pair): pair is [string, number] =>
          Array.isArray(pair) && typeof pair[0] === 'string' && Number.isInteger(pair[1]) && pair[1] >= 0,
      ),
    );
  } catch {
    return new Map();
  }
}

const colours = load();

/** Gives each run of the list that has none the first colour that no other has, the oldest run first. */
function assign(list: readonly { id: string }[]): void {
  const taken = new Set(list.map(({ id }) => colours.get(id)));
  for (const { id } of [...list].reverse()) {
    if (colours.has(id)) continue;
    let colour = 0;
    while (taken.has(colour)) colour++;
    taken.add(colour);
    colours.set(id, colour);
  }
  while (colours.size > KEPT) colours.delete(colours.keys().next().value!);
  try {
    localStorage.setItem(KEY, JSON.stringify([...colours]));
  } catch {
    // they last as long as the page
  }
}

/** The number of a run's colour. */
export function colourOf(id: string): number {
  const list = runs.peek();
  // until the list has come it is not known which are taken
  if (!colours.has(id) && list !== null) assign(list.some((run) => run.id === id) ? list : [...list, { id }]);
  return colours.get(id) ?? 0;
}
