/** An index in LanceDB's files, by its embedded library (lancedb.github.io). The package is the user's to install. */
import { join } from 'node:path';
import { InputError } from '../../core/errors.js';
import type { Condition } from '../../search/conditions.js';
import { searchFiltered, splitConditions } from '../../search/filtered.js';
import type { PictureInfo } from '../../search/picture.js';
import type { Hit, VectorStore } from '../../search/store.js';
import { checkRows } from './flat-store.js';
import { importOptional } from './optional-package.js';
import { pictureInfoFrom } from './picture-log.js';

/** What of `@lancedb/lancedb` is used. */
interface Lance {
  connect(uri: string): Promise<Connection>;
  readonly Index: { ivfFlat(options: { readonly distanceType: 'cosine' }): unknown };
}
interface Connection {
  tableNames(): Promise<string[]>;
  openTable(name: string): Promise<Table>;
  createTable(name: string, data: readonly LanceRow[]): Promise<Table>;
  close(): void;
}
interface Table {
  countRows(): Promise<number>;
  delete(predicate: string): Promise<unknown>;
  createIndex(column: string, options: { readonly config: unknown; readonly replace: boolean }): Promise<void>;
  listIndices(): Promise<readonly unknown[]>;
  optimize(): Promise<unknown>;
  query(): Query;
  vectorSearch(vector: Float32Array): VectorQuery;
  mergeInsert(column: string): Merge;
  close(): void;
}
interface Query {
  select(columns: readonly string[]): this;
  where(predicate: string): this;
  limit(count: number): this;
  toArray(): Promise<readonly Record<string, unknown>[]>;
}
interface VectorQuery extends Query {
  distanceType(type: 'cosine'): this;
  nprobes(count: number): this;
  bypassVectorIndex(): this;
}
interface Merge {
  whenMatchedUpdateAll(): Merge;
  whenNotMatchedInsertAll(): Merge;
  execute(rows: readonly LanceRow[]): Promise<unknown>;
}
type LanceRow = PictureInfo & { readonly vector: number[] };

export const lancePackage = '@lancedb/lancedb';
const tableName = 'pictures';
const columns = ['path', 'size', 'modified', 'sha256', 'width', 'height'];

export interface LanceOptions {
  readonly dimension: number;
  readonly write: boolean;
  readonly listsFrom?: number;
  readonly probes?: number;
}

/** Opens the store in a directory, or begins one. Throws RuntimeUnavailableError where the package is missing. */
export async function openLanceStore(
  dir: string,
  { dimension, write, listsFrom = 50_000, probes = 32 }: LanceOptions,
  load: () => Promise<Lance> = () => importOptional(lancePackage, `${lancePackage}@0.30.0 apache-arrow@18.1.0`, dir),
): Promise<VectorStore> {
  const lance = await load();
  const connection = await lance.connect(join(dir, 'lance'));
  let table = (await connection.tableNames()).includes(tableName) ? await connection.openTable(tableName) : undefined;
  const expectWriting = () => {
    if (!write) throw new InputError(`${dir}: was opened for reading; open it for writing to change it`);
  };
  const infoOf = (row: Record<string, unknown>) => pictureInfoFrom(row, `${dir}: lance`);
  return {
    dimension,
    list: async () => (table ? (await table.query().select(columns).toArray()).map(infoOf) : []),
    add: async (rows) => {
      expectWriting();
      checkRows(rows, dimension);
      if (rows.length === 0) return;
      // Of rows with one path the last counts; a merge would refuse them.
      const byPath = new Map(rows.map(({ info, vector }) => [info.path, { ...info, vector: Array.from(vector) }]));
      const data = [...byPath.values()];
      if (!table) table = await connection.createTable(tableName, data);
      else await table.mergeInsert('path').whenMatchedUpdateAll().whenNotMatchedInsertAll().execute(data);
    },
    remove: async (paths) => {
      expectWriting();
      if (!table || paths.length === 0) return 0;
      const before = await table.countRows();
      await table.delete(`path IN (${paths.map(quoted).join(', ')})`);
      return before - (await table.countRows());
    },
    vectors: async (paths) => {
      const out = new Float32Array(paths.length * dimension);
      if (paths.length === 0) return out;
      const asked = `path IN (${[...new Set(paths)].map(quoted).join(', ')})`;
      const found = table ? await table.query().select(['path', 'vector']).where(asked).toArray() : [];
      const byPath = new Map(found.map((row) => [row['path'], row['vector'] as Iterable<number>]));
      paths.forEach((path, i) => {
        const vector = byPath.get(path);
        if (!vector) throw new InputError(`${dir}: has no picture ${path}`);
        out.set(Float32Array.from(vector), i * dimension);
      });
      return out;
    },
    search: async (query, { top, where, exact }) => {
      if (!table) return [];
      const opened = table;
      const { asked, own } = splitConditions(where);
      const fetch = async (limit: number): Promise<Hit[]> => {
        let search = opened.vectorSearch(query).distanceType('cosine').limit(limit);
        search = exact ? search.bypassVectorIndex() : search.nprobes(probes);
        if (asked.length > 0) search = search.where(asked.map(predicate).join(' AND '));
        const rows = await search.select([...columns, '_distance']).toArray();
        return rows.map((row) => ({ score: 1 - Number(row['_distance']), info: infoOf(row) }));
      };
      return searchFiltered(fetch, top, own);
    },
    optimize: async () => {
      expectWriting();
      if (!table) return;
      if ((await table.listIndices()).length > 0) await table.optimize();
      else if ((await table.countRows()) >= listsFrom) {
        const config = lance.Index.ivfFlat({ distanceType: 'cosine' });
        await table.createIndex('vector', { config, replace: true });
      }
    },
    dispose: async () => {
      table?.close();
      connection.close();
    },
  };
}

const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;

function predicate({ field, operator, value }: Condition): string {
  return `${field} ${operator} ${typeof value === 'number' ? value : quoted(value)}`;
}
