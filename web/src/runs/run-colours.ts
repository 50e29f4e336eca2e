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

/** The number of a run's colour: the one that it had, or the first that no run of the list has. */
export function colourOf(id: string): number {
  const known = colours.get(id);
  if (known !== undefined) return known;
  const list = runs.peek();
  if (list === null) return 0; // until it is known which are taken
  const taken = new Set(list.map((run) => colours.get(run.id)));
  let colour = 0;
  while (taken.has(colour)) colour++;
  colours.set(id, colour);
  while (colours.size > KEPT) colours.delete(colours.keys().next().value!);
  try {
    localStorage.setItem(KEY, JSON.stringify([...colours]));
  } catch {
    // it lasts as long as the page
  }
  return colour;
}
