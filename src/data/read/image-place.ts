/** Where the bytes of an image of a list lie. */

/** A tar or Parquet file, as it was when it was listed: it must be the same when it is read. */
export interface ShardFile {
  /** Absolute. */
  file: string;
  /** In bytes. */
  size: number;
  /** When its content last changed, in ms. */
  mtimeMs: number;
}

/** The column of image bytes in a Parquet file: what decoding one of its pages takes. */
export interface ParquetColumn {
  codec: string;
  /** Definition levels: 0 when there is always an image, 1 or 2 when it, or the struct around it, may be missing. */
  levels: number;
  /** First page, and dictionary page (-1 for none), of each row group, in bytes from the start of the file. */
  groups: { start: number; dictionary: number }[];
}

/** Bytes of a tar file, from its start. */
export interface TarPlace {
  kind: 'tar';
  offset: number;
  length: number;
}

/** A row of a page of a Parquet file. */
export interface ParquetPlace {
  kind: 'parquet';
  /** Where the page begins, in bytes from the start of the file. */
  page: number;
  /** Within the page. */
  row: number;
}

/** A place in a shard, and the shard. */
export type ShardPlace = { shard: ShardFile } & (TarPlace | (ParquetPlace & { column: ParquetColumn }));

/** An image is a file of its own, lies in memory, or within a shard. */
export type ImagePlace = { kind: 'file' } | { kind: 'memory'; bytes: Uint8Array } | ShardPlace;
