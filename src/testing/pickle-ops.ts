/** For tests: pickles and torch files, good and bad, built byte by byte. */
import { ZipWriter } from '../weights/zip-write.js';

/** Opcodes as text (latin1) and numbers, joined after PROTO 2, with STOP at the end. */
export function ops(...parts: (string | number | Uint8Array)[]): Buffer {
  const bytes = parts.map((part) =>
    typeof part === 'number'
      ? Buffer.of(part)
      : typeof part === 'string'
        ? Buffer.from(part, 'latin1')
        : part,
  );
  return Buffer.concat([Buffer.of(0x80, 2), ...bytes, Buffer.from('.')]);
}

/** BINUNICODE */
export function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  const head = Buffer.alloc(5, 'X');
  head.writeUInt32LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** BININT, or LONG1 for wider numbers. */
export function int(value: number): Buffer {
  const isWide = value < -(2 ** 31) || value >= 2 ** 31;
  const bytes = Buffer.alloc(isWide ? 10 : 5);
  if (isWide) {
    bytes[0] = 0x8a;
    bytes[1] = 8;
    bytes.writeBigInt64LE(BigInt(value), 2);
  } else {
    bytes.write('J');
    bytes.writeInt32LE(value, 1);
  }
  return bytes;
}

/** GLOBAL */
export const global = (module: string, name: string): string => `c${module}\n${name}\n`;

/** A tuple of whole numbers. */
export const tuple = (...values: number[]): Buffer =>
  Buffer.concat([Buffer.from('('), ...values.map(int), Buffer.from('t')]);

export interface TensorParts {
  key?: string;
  /** Class of its storage. */
  storage?: string;
  /** Number of elements that the storage has according to the pickle. */
  length?: number;
  offset?: number;
  shape: number[];
  strides?: number[];
}

/** _rebuild_tensor_v2(...) */
export function tensorOps(parts: TensorParts): Buffer {
  const { key = '0', storage = 'FloatStorage', offset = 0, shape } = parts;
  const strides = parts.strides ?? shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const length = parts.length ?? shape.reduce((a, b) => a * b, 1);
  return ops(
    global('torch._utils', '_rebuild_tensor_v2'),
    ...['((', text('storage'), global('torch', storage), text(key), text('cpu'), int(length), 'tQ'],
    ...[
      int(offset),
      tuple(...shape),
      tuple(...strides),
      0x89,
      global('collections', 'OrderedDict'),
      ')R',
      'tR',
    ],
  ).subarray(2, -1);
}

/** A zip file with these entries. */
export function zip(entries: Readonly<Record<string, Uint8Array | string>>): Buffer {
  const chunks: Uint8Array[] = [];
  const writer = new ZipWriter((bytes) => chunks.push(bytes));
  for (const [name, data] of Object.entries(entries)) writer.add(name, Buffer.from(data));
  writer.end();
  return Buffer.concat(chunks);
}

/** A torch file with this data.pkl and these storages. */
export function torchFile(pickle: Uint8Array, storages: Readonly<Record<string, Uint8Array>> = {}): Buffer {
  const data = Object.fromEntries(
    Object.entries(storages).map(([key, bytes]) => [`archive/data/${key}`, bytes]),
  );
  return zip({
    'archive/data.pkl': pickle,
    'archive/byteorder': 'little',
    ...data,
    'archive/version': '3\n',
  });
}
