/** Pairs of pictures and texts in Parquet files, as the hub's data sets have them. */
import { createRequire } from 'node:module';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { type Compressors, parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet';
import { InputError, messageOf } from '../../core/errors.js';
import { isObject } from '../../core/json.js';
import type { PairColumns } from '../../data/pairs.js';
import type { StreamedPair } from '../../data/web-dataset.js';
import { fileSource } from '../files.js';

/** Snappy and none are the library's own; zstd is Node's where it has it. */
const compressors: Compressors = {
  GZIP: (input) => gunzipSync(input),
  BROTLI: (input) => brotliDecompressSync(input),
  ZSTD: (input) => {
    const { zstdDecompressSync } = createRequire(import.meta.url)('node:zlib') as {
      zstdDecompressSync?: (input: Uint8Array) => Uint8Array;
    };
    if (!zstdDecompressSync) throw new InputError('zstd needs Node 22.15 or later; write the file with snappy');
    return zstdDecompressSync(input);
  },
};

const imageNames = ['image', 'jpg', 'png', 'webp'];
const textNames = ['text', 'caption', 'title', 'txt'];

/**
 * The pairs of a file, row group by row group. A picture is bytes, or a structure with `bytes`. Throws InputError for a file
 * without the columns, naming those it has.
 */
export async function* readParquetPairs(path: string, columns: PairColumns = {}): AsyncGenerator<StreamedPair> {
  const source = fileSource(path);
  const file = {
    byteLength: source.size,
    slice: async (start: number, end = source.size) => {
      const bytes = await source.read(start, end - start);
      return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
    },
  };
  try {
    const metadata = await parquetMetadataAsync(file);
    const names = parquetSchema(metadata).children.map(({ element }) => element.name);
    const find = (given: string | undefined, known: readonly string[], what: string) => {
      const wanted = given === undefined ? known : [given];
      const name = wanted.find((each) => names.includes(each));
      if (name !== undefined) return name;
      throw new InputError(`${path}: has no column for the ${what} (${wanted.join(', ')}); it has ${names.join(', ')}`);
    };
    const [image, text] = [find(columns.image, imageNames, 'image'), find(columns.text, textNames, 'text')];
    const read = [image, text, ...(names.includes('label') ? ['label'] : [])];
    let row = 0;
    for (const { num_rows: count } of metadata.row_groups) {
      const rowEnd = row + Number(count);
      const options = { file, metadata, compressors, columns: read, rowStart: row, rowEnd, utf8: false };
      for (const value of await parquetReadObjects(options)) {
        yield pairOf(value, { image, text }, `${path}: row ${row}`);
        row++;
      }
    }
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`${path}: cannot be read as Parquet: ${messageOf(cause)}`, { cause });
  } finally {
    source.dispose?.();
  }
}

function pairOf(
  value: Readonly<Record<string, unknown>>,
  names: { readonly image: string; readonly text: string },
  where: string,
): StreamedPair {
  const cell = value[names.image];
  const image = isObject(cell) && !(cell instanceof Uint8Array) ? cell['bytes'] : cell;
  if (!(image instanceof Uint8Array)) {
    throw new InputError(`${where}: ${names.image}: expected the bytes of a picture, or a structure with bytes`);
  }
  const given = value[names.text];
  const texts: readonly unknown[] = Array.isArray(given) ? given : [given];
  if (texts.length === 0 || !texts.every((text) => typeof text === 'string' && text !== '')) {
    throw new InputError(`${where}: ${names.text}: expected text, got ${JSON.stringify(given)?.slice(0, 60)}`);
  }
  const { label } = value;
  return { where, image, texts: texts as string[], label: typeof label === 'string' ? label : (texts[0] as string) };
}
