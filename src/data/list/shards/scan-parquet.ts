/**
 * Lists the images of a Parquet file as Hugging Face's datasets writes them: a column that is a struct of `bytes` and
 * `path`, or only bytes, and a column of labels, whose class names are in the file's metadata. Only the footer, the headers
 * of the image pages and the small columns are read.
 */
import type { ColumnMetaData, FileMetaData, SchemaTree } from 'hyparquet/src/types.js';
import { DataError } from '../../../errors.js';
import type { ParquetColumn } from '../../read/image-place.js';
import { LabelCollector, type RawLabel } from './label-collector.js';
import { plainValue, readPageHeader } from '../../read/parquet-pages.js';
import { MAX_LABEL, ProblemList, type ScannedShard, WindowedFile } from './scanned-shard.js';

const IMAGE_NAMES = ['image', 'img', 'jpg', 'png', 'webp', 'picture', 'bytes', 'data'];
/** Most bytes of a footer, and of a column of labels or names in a row group: the file only claims their sizes. */
const MAX_FOOTER = 2 ** 26;
const MAX_COLUMN = 2 ** 28;
/** Most rows that a file of this size can have: an image takes more than 16 bytes, unless it is repeated. */
const mostRows = (bytes: number): number => 2 ** 20 + bytes / 16;

const LABEL_NAMES = ['label', 'labels', 'fine_label', 'cls', 'class'];

interface ImageColumn {
  name: string;
  bytes: SchemaTree;
  /** The column of file names. */
  path: SchemaTree | null;
  isStruct: boolean;
  levels: number;
}

interface Feature {
  _type?: string;
  names?: string[];
}

/** The types of the columns, as datasets notes them in the metadata. */
function featuresOf(metadata: FileMetaData): Record<string, Feature> {
  const text = metadata.key_value_metadata?.find(({ key }) => key === 'huggingface')?.value;
  try {
    const { info } = JSON.parse(text ?? '{}') as { info?: { features?: Record<string, Feature> } };
    return info?.features ?? {};
  } catch {
    return {};
  }
}

const isOptional = ({ element }: SchemaTree): number => (element.repetition_type === 'REQUIRED' ? 0 : 1);
const isRepeated = ({ element }: SchemaTree): boolean => element.repetition_type === 'REPEATED';
const isBytes = (node: SchemaTree): boolean =>
  node.children.length === 0 && node.element.type === 'BYTE_ARRAY' && !isRepeated(node);
const isText = ({ element }: SchemaTree): boolean =>
  element.converted_type === 'UTF8' || element.logical_type?.type === 'STRING';

/** @throws DataError when there is no column of images, or there are several and none has a usual name */
function imageColumn(columns: readonly SchemaTree[], features: Record<string, Feature>): ImageColumn {
  const found = columns.flatMap((column): ImageColumn[] => {
    const { name } = column.element;
    if (isBytes(column) && !isText(column)) {
      return [{ name, bytes: column, path: null, isStruct: false, levels: isOptional(column) }];
    }
    const bytes = column.children.find((child) => child.element.name === 'bytes');
    const path = column.children.find((child) => child.element.name === 'path' && isBytes(child)) ?? null;
    if (bytes === undefined || !isBytes(bytes) || isRepeated(column)) return [];
    return [{ name, bytes, path, isStruct: true, levels: isOptional(column) + isOptional(bytes) }];
  });
  const noted = found.filter(({ name }) => features[name]?._type === 'Image');
  const structs = found.filter(({ isStruct }) => isStruct);
  const choices = noted.length > 0 ? noted : structs.length > 0 ? structs : found;
  const named = IMAGE_NAMES.flatMap((name) => choices.filter((column) => column.name === name));
  const chosen = named[0] ?? (choices.length === 1 ? choices[0] : undefined);
  if (chosen !== undefined) return chosen;
  const names = columns.map((column) => column.element.name).join(', ');
  throw new DataError(
    `${choices.length === 0 ? 'no column of images' : 'several columns could be the images'}: expected one column that ` +
      `is a struct of bytes and path, or bytes, best named image; the file has ${names}`,
  );
}

/** Floating point too: pandas has numbers of which some are missing so. */
function labelColumn(columns: readonly SchemaTree[], features: Record<string, Feature>): SchemaTree | null {
  const leaves = columns.filter((column) => column.children.length === 0 && !isRepeated(column));
  const noted = leaves.filter(({ element }) => features[element.name]?._type === 'ClassLabel');
  const choices =
    noted.length > 0
      ? noted
      : leaves.filter((column) => isText(column) || /^(INT|FLOAT|DOUBLE)/.test(column.element.type ?? ''));
  const named = LABEL_NAMES.flatMap((name) => choices.filter(({ element }) => element.name === name));
  return named[0] ?? (noted.length === 1 ? noted[0]! : null);
}

/** The bytes of a column in a row group. */
function chunkRange(column: ColumnMetaData): { start: number; end: number } {
  const dictionary = Number(column.dictionary_page_offset ?? 0);
  const data = Number(column.data_page_offset);
  const start = dictionary > 0 ? Math.min(dictionary, data) : data;
  return { start, end: start + Number(column.total_compressed_size) };
}

/** Checks the headers of a small column's pages before anything is decompressed. @throws DataError when they claim too much. */
async function checkClaims(bytes: Uint8Array, most: number): Promise<void> {
  const readAt = (from: number, length: number) => Promise.resolve(bytes.subarray(from, from + length));
  let [unpacked, rows] = [0, 0];
  for (let at = 0; at < bytes.length - 1;) {
    const header = await readPageHeader(readAt, at, bytes.length);
    unpacked += header.unpackedBytes;
    rows += header.rows;
    at += header.totalBytes;
  }
  if (unpacked > MAX_COLUMN || rows > most)
    throw new DataError(
      `its pages claim ${rows} rows and ${unpacked} bytes, more than a file of this size can have`,
    );
}

/** All values of a small column in a row group; null where there is none. */
async function columnValues(
  source: WindowedFile,
  metadata: FileMetaData,
  column: ColumnMetaData,
): Promise<unknown[]> {
  const [{ readColumn }, { getSchemaPath }, { DEFAULT_PARSERS }, { compressors }] = await Promise.all([
    import('hyparquet/src/column.js'),
    import('hyparquet/src/schema.js'),
    import('hyparquet/src/convert.js'),
    import('hyparquet-compressors'),
  ]);
  const { start, end } = chunkRange(column);
  if (!(start >= 0 && end <= source.size)) throw new DataError('its pages lie beyond the end of the file');
  if (end - start > MAX_COLUMN)
    throw new DataError(`${end - start} bytes, more than the limit of ${MAX_COLUMN}`);
  const bytes = await source.read(start, end - start);
  await checkClaims(bytes, mostRows(source.size));
  const schemaPath = getSchemaPath(metadata.schema, column.path_in_schema);
  const reader = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 };
  const rows = Number(column.num_values);
  const select = { groupStart: 0, selectStart: 0, selectEnd: rows, groupRows: rows };
  const decoder = {
    ...{ pathInSchema: column.path_in_schema, element: schemaPath.at(-1)!.element, schemaPath },
    ...{ type: column.type, codec: column.codec, parsers: DEFAULT_PARSERS, compressors },
  };
  const { data } = readColumn(reader, select, decoder);
  return data.flatMap((chunk) =>
    Array.from(chunk as ArrayLike<unknown>, (value) => plainValue(value) ?? null),
  );
}

function asLabel(value: unknown, names: readonly string[] | undefined): RawLabel {
  if (typeof value === 'string') return value === '' ? null : value;
  if (typeof value !== 'number' && typeof value !== 'bigint') return null;
  const number = Number(value);
  if (!(Number.isInteger(number) && number >= 0 && number <= MAX_LABEL)) return null; // datasets has -1 for none
  return names?.[number] ?? number;
}

interface Page {
  offset: number;
  rows: number;
}

/** Finds the data pages of a column in a row group by their headers, up to a damaged one. */
async function dataPages(
  source: WindowedFile,
  column: ColumnMetaData,
  problems: ProblemList,
): Promise<{ dictionary: number; pages: Page[] }> {
  const { start, end } = chunkRange(column);
  const pages: Page[] = [];
  let dictionary = -1;
  for (let at = start; at < end;) {
    try {
      if (!(at >= 0 && at < source.size)) throw new DataError('its pages lie beyond the end of the file');
      const header = await readPageHeader((offset, bytes) => source.read(offset, bytes), at, source.size);
      if (header.type === 'dictionary') dictionary = at;
      else if (header.type === 'data') pages.push({ offset: at, rows: header.rows });
      at += header.totalBytes;
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      problems.add({
        offset: Math.max(0, at),
        reason: `${error.message}: the rest of its row group is not read`,
      });
      break;
    }
  }
  return { dictionary, pages };
}

const baseName = (path: unknown): string =>
  typeof path === 'string' ? path.slice(path.lastIndexOf('/') + 1) : '';

/**
 * Lists the images of a Parquet file; their names are `row:file name`, `row` counted from 0 over the whole file.
 * @throws DataError when it has no column of images; Error of the file system when it can't be opened or read
 */
export async function scanParquet(file: string): Promise<ScannedShard> {
  const { parquetMetadataAsync, parquetSchema } = await import('hyparquet');
  const source = WindowedFile.open(file);
  try {
    const problems = new ProblemList();
    const scanned = (found: ReturnType<LabelCollector['finish']>): ScannedShard => {
      return { ...found, problems: problems.list, leftOut: [], notes: [], renamed: [] };
    };
    const buffer = {
      byteLength: source.size,
      slice: async (start: number, end = source.size) => {
        if (end - start > MAX_FOOTER) throw new DataError(`a footer of ${end - start} bytes`);
        return new Uint8Array(await source.read(start, end - start)).buffer;
      },
    };
    let metadata: FileMetaData;
    try {
      metadata = await parquetMetadataAsync(buffer);
    } catch (error) {
      const reason = `no Parquet footer: the file is cut off or damaged, and none of it can be read (${(error as Error).message})`;
      problems.add({ offset: source.size, reason });
      return scanned(new LabelCollector(source).finish());
    }
    // an empty table: its row group has no pages, and its columns may be of no type
    const filled = metadata.row_groups.filter(({ num_rows: rows }) => Number(rows) > 0);
    if (filled.length === 0) return scanned(new LabelCollector(source).finish());
    const features = featuresOf(metadata);
    const columns = parquetSchema(metadata).children;
    const image = imageColumn(columns, features);
    const label = labelColumn(columns, features);
    const names = label === null ? undefined : features[label.element.name]?.names;
    const column = (group: FileMetaData['row_groups'][number], node: SchemaTree | null) =>
      group.columns.find(({ meta_data }) => meta_data?.path_in_schema.join('.') === node?.path.join('.'))
        ?.meta_data;
    const [first] = filled;
    const imageBytes: ParquetColumn = {
      codec: (first && column(first, image.bytes)?.codec) ?? 'UNCOMPRESSED',
      levels: image.levels,
      groups: [],
    };
    const collector = new LabelCollector(source, imageBytes);
    let groupStart = 0;
    let rowsLeft = mostRows(source.size);
    for (const group of filled) {
      const bytes = column(group, image.bytes);
      const small = async (node: SchemaTree | null): Promise<unknown[]> => {
        const chunk = column(group, node);
        try {
          return chunk === undefined ? [] : await columnValues(source, metadata, chunk);
        } catch (error) {
          const { start } = chunkRange(chunk!);
          problems.add({
            offset: Math.max(0, start),
            reason: `column ${node!.element.name}: ${(error as Error).message}`,
          });
          return [];
        }
      };
      if (bytes !== undefined && bytes.codec === imageBytes.codec) {
        const [labels, paths] = [await small(label), await small(image.path)];
        const { dictionary, pages } = await dataPages(source, bytes, problems);
        imageBytes.groups.push({ start: chunkRange(bytes).start, dictionary });
        let row = 0;
        for (const page of pages) {
          rowsLeft -= page.rows;
          if (rowsLeft < 0) {
            problems.add({
              offset: page.offset,
              reason: 'more rows than a file of this size can have: the rest is not read',
            });
            break;
          }
          for (let i = 0; i < page.rows; i++, row++) {
            const name = `${groupStart + row}:${baseName(paths[row])}`;
            collector.add(name, asLabel(labels[row], names), { kind: 'parquet', page: page.offset, row: i });
          }
        }
      } else if (bytes !== undefined) {
        problems.add({
          offset: chunkRange(bytes).start,
          reason: `a row group with codec ${bytes.codec}; expected ${imageBytes.codec}, as in the first one`,
        });
      }
      groupStart += Number(group.num_rows);
    }
    return scanned(collector.finish(names));
  } finally {
    source.close();
  }
}
