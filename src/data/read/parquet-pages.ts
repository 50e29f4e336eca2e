/**
 * Reads images from Parquet pages. The least that can be decompressed is a page (about 1 MiB or ten images, as Arrow writes
 * them), so that the pages that were read last are kept: reading in order decodes each page once, reading at random decodes
 * one for each image.
 */
import type { ColumnDecoder, SchemaTree } from 'hyparquet/src/types.js';
import { DataError } from '../../errors.js';
import { MAX_IMAGE_BYTES } from './image-format.js';
import type { ParquetColumn, ShardPlace } from './image-place.js';

/** Most bytes of decoded pages that a reader keeps. */
const KEPT_BYTES = 32 * 2 ** 20;
/** Largest page that is accepted, in bytes, compressed or not: its header may claim anything. */
const MAX_PAGE = MAX_IMAGE_BYTES;
/** Most rows of a page: a run length of a few bytes can stand for billions. */
const MAX_ROWS = 2 ** 24;
/** Bytes that are read for a page's header: it has some 50, and with statistics of long values a few thousand. */
const HEADER_WINDOWS = [256, 16384, 2 ** 20];

type ReadAt = (offset: number, bytes: number) => Promise<Uint8Array>;
type InParquet = Extract<ShardPlace, { kind: 'parquet' }>;

const dataViewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export interface PageHeader {
  type: 'dictionary' | 'data' | 'other';
  /** 0 unless it is a data page. */
  rows: number;
  usesDictionary: boolean;
  headerBytes: number;
  /** Header and data, in bytes. */
  totalBytes: number;
  /** Bytes of the decompressed data, as the header claims. */
  unpackedBytes: number;
}

/**
 * Reads a page's header.
 * @param size - of the file, in bytes
 * @throws DataError when it is damaged
 */
export async function readPageHeader(readAt: ReadAt, offset: number, size: number): Promise<PageHeader> {
  const { parquetHeader } = await import('hyparquet/src/column.js');
  let problem: unknown = null;
  for (const window of HEADER_WINDOWS) {
    const bytes = await readAt(offset, Math.min(window, size - offset));
    const reader = { view: dataViewOf(bytes), offset: 0 };
    let header;
    try {
      header = parquetHeader(reader);
    } catch (error) {
      problem = error;
      if (bytes.length < window) break;
      continue; // the header may be longer than the window
    }
    const { type, compressed_page_size: compressed, uncompressed_page_size: whole } = header;
    const data = header.data_page_header ?? header.data_page_header_v2;
    const rows = Number(data?.num_values ?? 0);
    const sound =
      typeof type === 'string' &&
      Number.isSafeInteger(compressed) &&
      compressed >= 0 &&
      compressed <= MAX_PAGE &&
      Number.isSafeInteger(whole) &&
      whole >= 0 &&
      whole <= MAX_PAGE &&
      rows >= 0 &&
      rows <= MAX_ROWS;
    if (!sound) throw new DataError(`a damaged page header at byte ${offset}`);
    const totalBytes = reader.offset + compressed;
    if (offset + totalBytes > size) throw new DataError(`the page at byte ${offset} is cut off`);
    const kind = type === 'DICTIONARY_PAGE' ? 'dictionary' : data === undefined ? 'other' : 'data';
    const usesDictionary = data?.encoding.includes('DICTIONARY') ?? false;
    return { type: kind, rows, usesDictionary, headerBytes: reader.offset, totalBytes, unpackedBytes: whole };
  }
  throw new DataError(`a damaged page header at byte ${offset}: ${(problem as Error).message}`, {
    cause: problem,
  });
}

/** A decoder for the bytes of images: of the schema around them, only the number of definition levels matters. */
function decoderOf(
  { codec, levels }: ParquetColumn,
  compressors: ColumnDecoder['compressors'],
): ColumnDecoder {
  const node = (repetition_type: 'REQUIRED' | 'OPTIONAL'): SchemaTree => ({
    ...{ count: 1, children: [], path: [] },
    element: { name: 'bytes', type: 'BYTE_ARRAY', repetition_type },
  });
  const optional = Array.from({ length: levels }, () => node('OPTIONAL'));
  const schemaPath = [node('REQUIRED'), ...(levels === 0 ? [node('REQUIRED')] : optional)];
  return {
    ...{ pathInSchema: ['bytes'], type: 'BYTE_ARRAY', element: schemaPath.at(-1)!.element, schemaPath },
    ...{ codec: codec as ColumnDecoder['codec'], utf8: false },
    parsers: {} as ColumnDecoder['parsers'], // of times and texts only
    ...(compressors === undefined ? {} : { compressors }),
  };
}

/** Unwraps a value: hyparquet returns those of a struct's field in nested arrays. */
export function plainValue(value: unknown): unknown {
  while (Array.isArray(value)) value = (value as unknown[])[0];
  return value;
}

async function decodePage(
  pages: Uint8Array[],
  column: ParquetColumn,
  rows: number,
): Promise<(Uint8Array | null)[]> {
  const { readColumn } = await import('hyparquet/src/column.js');
  const compressors =
    column.codec === 'UNCOMPRESSED' ? undefined : (await import('hyparquet-compressors')).compressors;
  const bytes = pages.length === 1 ? pages[0]! : Buffer.concat(pages);
  const select = { groupStart: 0, selectStart: 0, selectEnd: rows, groupRows: rows };
  const { data } = readColumn({ view: dataViewOf(bytes), offset: 0 }, select, decoderOf(column, compressors));
  return data.flatMap((chunk) =>
    Array.from(chunk as ArrayLike<unknown>, (value) => {
      const plain = plainValue(value);
      return plain instanceof Uint8Array ? plain : null;
    }),
  );
}

interface KeptPage {
  images: Promise<(Uint8Array | null)[]>;
  bytes: number;
}

export class ParquetPages {
  readonly #kept = new Map<string, KeptPage>();
  #bytes = 0;

  /**
   * @param readAt - reads the shard
   * @throws DataError with a one-line reason
   */
  async read(place: InParquet, readAt: ReadAt): Promise<Uint8Array> {
    const key = `${place.page} ${place.shard.file}`;
    let page = this.#kept.get(key);
    if (page === undefined) {
      page = { images: loadPage(place, readAt), bytes: 0 };
      const loading = page;
      loading.images.then(
        (images) => {
          loading.bytes = images.reduce((sum, image) => sum + (image?.length ?? 0), 0);
          this.#bytes += loading.bytes;
          this.#forget();
        },
        () => undefined, // kept as well: the page's other images fail for the same reason
      );
    }
    this.#kept.delete(key);
    this.#kept.set(key, page);
    const image = (await page.images)[place.row];
    if (image === undefined || image === null) throw new DataError('the row has no bytes of an image');
    return image;
  }

  #forget(): void {
    for (const [key, { bytes }] of this.#kept) {
      if (this.#bytes <= KEPT_BYTES || this.#kept.size <= 2) return;
      this.#kept.delete(key);
      this.#bytes -= bytes;
    }
  }
}

/** All rows of the page that an image lies in. */
async function loadPage({ shard, column, page }: InParquet, readAt: ReadAt): Promise<(Uint8Array | null)[]> {
  const header = await readPageHeader(readAt, page, shard.size);
  const pages = [await readAt(page, header.totalBytes)];
  if (header.usesDictionary) {
    const group = column.groups.findLast(({ start }) => start <= page);
    if (group === undefined || group.dictionary < 0) throw new DataError('its dictionary page is missing');
    const dictionary = await readPageHeader(readAt, group.dictionary, shard.size);
    pages.unshift(await readAt(group.dictionary, dictionary.totalBytes));
  }
  try {
    return await decodePage(pages, column, header.rows);
  } catch (error) {
    throw new DataError(`a damaged Parquet page at byte ${page}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
