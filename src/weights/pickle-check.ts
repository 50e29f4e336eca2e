/**
 * The last check of a pickle's value: values that contain themselves, are nested deeply, or become huge by shared parts (a
 * list of two lists of two lists ...) would hang or overflow any code that walks them, so they are refused here.
 */
import { CheckpointError } from '../errors.js';
import { NumpyArray, PickleGlobal, PickleNamespace, PickleOpaque, show } from './pickle-values.js';

const MAX_NESTING = 200;
/** The most values when each shared part is counted wherever it is used. */
const MAX_WRITTEN_OUT = 50_000_000;

function childrenOf(value: unknown): Iterable<unknown> | null {
  if (Array.isArray(value)) return value as unknown[];
  if (value instanceof Map) return [...value.keys(), ...value.values()] as unknown[];
  if (value instanceof Set) return value;
  if (value instanceof PickleNamespace) return value.entries.values();
  if (value instanceof PickleOpaque)
    return [...value.entries.keys(), ...value.entries.values(), ...value.items];
  if (value instanceof NumpyArray && value.dtype === 'O') return value.objects;
  return null;
}

/**
 * @param mayHoldClasses - Classes may be values.
 * @throws CheckpointError for cycles, deep nesting, classes left as values, and values that become huge by shared parts.
 */
export function checkValue(root: unknown, where: string, mayHoldClasses = false): void {
  interface Frame {
    value: unknown;
    rest: Iterator<unknown>;
    height: number;
    size: number;
  }
  const refuse = (what: string): never => {
    throw new CheckpointError(`${where}: the pickle holds ${what}`);
  };
  /** Of finished containers; null while one is being visited. */
  const done = new Map<unknown, { height: number; size: number } | null>();
  const stack: Frame[] = [];
  const enter = (value: unknown): { height: number; size: number } | null => {
    if (value instanceof PickleGlobal && !mayHoldClasses) refuse(`${show(value.name)} as a value`);
    const children = childrenOf(value);
    if (children === null) return { height: 0, size: 1 };
    const known = done.get(value);
    if (known === null) refuse('a value that contains itself');
    if (known) return known;
    done.set(value, null);
    stack.push({ value, rest: children[Symbol.iterator](), height: 0, size: 1 });
    if (stack.length > MAX_NESTING) refuse(`values nested more than ${MAX_NESTING} deep`);
    return null;
  };
  enter(root);
  for (let frame = stack.at(-1); frame !== undefined; frame = stack.at(-1)) {
    const next = frame.rest.next();
    if (!next.done) {
      const found = enter(next.value);
      if (found !== null) add(frame, found);
      continue;
    }
    stack.pop();
    const found = { height: frame.height, size: frame.size };
    done.set(frame.value, found);
    const parent = stack.at(-1);
    if (parent !== undefined) add(parent, found);
  }

  function add(frame: Frame, child: { height: number; size: number }): void {
    frame.height = Math.max(frame.height, child.height + 1);
    frame.size += child.size;
    if (frame.height > MAX_NESTING) refuse(`values nested more than ${MAX_NESTING} deep`);
    if (frame.size > MAX_WRITTEN_OUT)
      refuse(`more than ${MAX_WRITTEN_OUT} values when its shared parts are counted each time`);
  }
}
