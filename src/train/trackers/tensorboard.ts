/**
 * TensorBoard's event files: Event messages (tensorflow/core/util/event.proto and framework/summary.proto; only the fields that
 * are written stand here), each as a record of its length, a checksum of that, the message and a checksum of it
 * (tensorflow/core/lib/io/record_writer.h).
 */
import { closeSync, writeSync } from 'node:fs';
import path from 'node:path';
import protobuf from 'protobufjs';
import { makeFolder, openToWrite } from '../../files/guarded.js';

const schema = protobuf.Root.fromJSON({
  nested: {
    SessionLog: { fields: { status: { type: 'int32', id: 1 } } },
    Image: {
      fields: {
        height: { type: 'int32', id: 1 },
        width: { type: 'int32', id: 2 },
        colorspace: { type: 'int32', id: 3 },
        encodedImageString: { type: 'bytes', id: 4 },
      },
    },
    Value: {
      fields: {
        tag: { type: 'string', id: 1 },
        simpleValue: { type: 'float', id: 2 },
        image: { type: 'Image', id: 4 },
      },
    },
    Summary: { fields: { value: { rule: 'repeated', type: 'Value', id: 1 } } },
    Event: {
      fields: {
        wallTime: { type: 'double', id: 1 },
        step: { type: 'int64', id: 2 },
        fileVersion: { type: 'string', id: 3 },
        summary: { type: 'Summary', id: 5 },
        sessionLog: { type: 'SessionLog', id: 7 },
      },
    },
  },
});
const Event = schema.lookupType('Event');
/** SessionLog.START: TensorBoard then forgets what other files of the folder have from this step on. */
const START = 1;
const RGB = 3;

/** CRC-32C (Castagnoli), bit-reversed polynomial 0x82f63b78. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
});

/** The checksum as records hold it: rotated, and moved by a constant. */
export function maskedCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  crc = (crc ^ 0xffffffff) >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** A message as a record. */
function record(message: Uint8Array): Buffer {
  const whole = Buffer.alloc(8 + 4 + message.length + 4);
  whole.writeBigUInt64LE(BigInt(message.length));
  whole.writeUInt32LE(maskedCrc(whole.subarray(0, 8)), 8);
  whole.set(message, 12);
  whole.writeUInt32LE(maskedCrc(message), 12 + message.length);
  return whole;
}

/** RUN/tensorboard: one file for each time that the run was started or resumed. */
export class TensorBoardFile {
  readonly #file: number;

  /**
   * @param step - Steps done so far; what earlier files have of later ones no longer counts.
   * @throws DataError when it can't be written, or the folder is a link.
   */
  constructor(run: string, step: number) {
    const folder = path.join(run, 'tensorboard');
    makeFolder(folder, { within: run });
    const name = `events.out.tfevents.${Math.floor(Date.now() / 1000)}.${process.pid}.${step}.dino`;
    this.#file = openToWrite(path.join(folder, name), { within: run, start: 'new' });
    this.#write({ fileVersion: 'brain.Event:2' });
    this.#write({ step: step + 1, sessionLog: { status: START } });
  }

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    const value = Object.entries(values).map(([tag, simpleValue]) => ({ tag, simpleValue }));
    this.#write({ step, summary: { value } });
  }

  /** @param png - (height, width, 3) as a PNG. */
  image(step: number, tag: string, png: Uint8Array, width: number, height: number): void {
    const image = { width, height, colorspace: RGB, encodedImageString: png };
    this.#write({ step, summary: { value: [{ tag, image }] } });
  }

  close(): void {
    closeSync(this.#file);
  }

  #write(event: Record<string, unknown>): void {
    const bytes = record(Event.encode(Event.create({ wallTime: Date.now() / 1000, ...event })).finish());
    for (let done = 0; done < bytes.length;) done += writeSync(this.#file, bytes, done);
  }
}
