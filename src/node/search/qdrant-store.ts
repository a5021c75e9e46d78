/** An index on a Qdrant server (api.qdrant.tech), by its own client. The package is the user's to install. */
import { createHash } from 'node:crypto';
import type { QdrantClient } from '@qdrant/js-client-rest';
import { InputError, messageOf, RuntimeUnavailableError } from '../../core/errors.js';
import type { Condition } from '../../search/conditions.js';
import { searchFiltered, splitConditions } from '../../search/filtered.js';
import type { PictureInfo } from '../../search/picture.js';
import type { Hit, VectorStore } from '../../search/store.js';
import { checkRows } from './flat-store.js';
import { importOptional } from './optional-package.js';
import { pictureInfoFrom } from './picture-log.js';

export interface QdrantOptions {
  readonly dimension: number;
  readonly write: boolean;
  readonly apiKey?: string;
}

const packageName = '@qdrant/js-client-rest';
/** Points asked for at once. */
const page = 1000;

/**
 * Opens a collection, or makes one. Throws RuntimeUnavailableError where the package is missing or the server does not answer,
 * InputError where the collection has other vectors.
 */
export async function openQdrantStore(
  url: string,
  collection: string,
  { dimension, write, apiKey }: QdrantOptions,
): Promise<VectorStore> {
  const name = `${url}: collection ${collection}`;
  const { QdrantClient: Client } = await importOptional<typeof import('@qdrant/js-client-rest')>(
    packageName,
    `${packageName}@1.18.0`,
    name,
  );
  const client = new Client({ url, checkCompatibility: false, ...(apiKey !== undefined && { apiKey }) });
  const ask = <T>(call: Promise<T>): Promise<T> => call.catch((cause: unknown) => Promise.reject(failure(name, cause)));
  await ensureCollection(client, collection, { dimension, write, name, ask });
  const expectWriting = () => {
    if (!write) throw new InputError(`${name}: was opened for reading; open it for writing to change it`);
  };
  return {
    dimension,
    list: () => listPoints(client, collection, { name, ask }),
    add: async (rows) => {
      expectWriting();
      checkRows(rows, dimension);
      if (rows.length === 0) return;
      const points = rows.map(({ info, vector }) => ({
        id: pointId(info.path),
        vector: Array.from(vector),
        payload: { ...info },
      }));
      await ask(client.upsert(collection, { wait: true, points }));
    },
    remove: async (paths) => {
      expectWriting();
      let removed = 0;
      for (let at = 0; at < paths.length; at += page) {
        const ids = [...new Set(paths.slice(at, at + page).map(pointId))];
        removed += (await ask(client.retrieve(collection, { ids, with_payload: false, with_vector: false }))).length;
        await ask(client.delete(collection, { wait: true, points: ids }));
      }
      return removed;
    },
    ...readings(client, collection, { dimension, name, ask }),
    // The server sees to that itself.
    optimize: async () => {},
    dispose: async () => {},
  };
}

/** What looks for pictures of a collection. */
function readings(
  client: QdrantClient,
  collection: string,
  { dimension, name, ask }: Asking & Pick<QdrantOptions, 'dimension'>,
): Pick<VectorStore, 'vectors' | 'search'> {
  return {
    vectors: async (paths) => {
      const out = new Float32Array(paths.length * dimension);
      for (let at = 0; at < paths.length; at += page) {
        const ids = paths.slice(at, at + page).map(pointId);
        const found = await ask(client.retrieve(collection, { ids: [...new Set(ids)], with_vector: true }));
        const byId = new Map(found.map(({ id, vector }) => [String(id), vector as number[]]));
        ids.forEach((id, i) => {
          const vector = byId.get(id);
          if (!vector) throw new InputError(`${name}: has no picture ${paths[at + i]}`);
          out.set(vector, (at + i) * dimension);
        });
      }
      return out;
    },
    search: (query, { top, where, exact }) => {
      const { asked, own } = splitConditions(where);
      const filter = asked.length > 0 ? { filter: filterOf(asked) } : {};
      const fetch = async (limit: number): Promise<Hit[]> => {
        const vector = Array.from(query);
        const asking = { query: vector, limit, with_payload: true, params: { exact }, ...filter };
        const found = await ask(client.query(collection, asking));
        return found.points.map(({ score, payload }) => ({ score, info: pictureInfoFrom(payload, name) }));
      };
      return searchFiltered(fetch, top, own);
    },
  };
}

interface Asking {
  readonly name: string;
  /** Turns what the client throws into errors of ours. */
  readonly ask: <T>(call: Promise<T>) => Promise<T>;
}

async function listPoints(client: QdrantClient, collection: string, { name, ask }: Asking): Promise<PictureInfo[]> {
  const infos: PictureInfo[] = [];
  for (let offset: string | number | undefined; ; ) {
    const asked = { limit: page, with_payload: true, with_vector: false, ...(offset !== undefined && { offset }) };
    const { points, next_page_offset: next } = await ask(client.scroll(collection, asked));
    infos.push(...points.map(({ payload }) => pictureInfoFrom(payload, name)));
    if (typeof next !== 'string' && typeof next !== 'number') return infos;
    offset = next;
  }
}

async function ensureCollection(
  client: QdrantClient,
  collection: string,
  { dimension, write, name, ask }: Asking & Pick<QdrantOptions, 'dimension' | 'write'>,
): Promise<void> {
  const { exists } = await ask(client.collectionExists(collection));
  if (!exists) {
    if (!write) throw new InputError(`${name}: is not there; index the pictures again`);
    await ask(client.createCollection(collection, { vectors: { size: dimension, distance: 'Cosine' } }));
    return;
  }
  const { vectors } = (await ask(client.getCollection(collection))).config.params;
  if (vectors?.size !== dimension || vectors.distance !== 'Cosine') {
    throw new InputError(
      `${name}: expected vectors of ${dimension} compared by Cosine, got ${JSON.stringify(vectors)}; name another collection`,
    );
  }
}

/** A point's id is a UUID made from the path: adding it again replaces it. */
function pointId(path: string): string {
  const hex = createHash('sha256').update(path).digest('hex');
  // Version 8: made in a way of one's own (RFC 9562).
  const [a, b, c, d, e] = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(13, 16), hex.slice(17, 20), hex.slice(20, 32)];
  return `${a}-${b}-8${c}-8${d}-${e}`;
}

function filterOf(conditions: readonly Condition[]) {
  const ranges = { '<': 'lt', '<=': 'lte', '>': 'gt', '>=': 'gte' } as const;
  const clauses = conditions.map(({ field, operator, value }) => {
    if (operator in ranges) return { key: field, range: { [ranges[operator as '<']]: value } };
    // Numbers may be stored as floats, which do not match: a range of one value does.
    if (typeof value === 'number') return { key: field, range: { gte: value, lte: value } };
    return { key: field, match: { value } };
  });
  const isNot = (i: number) => conditions[i].operator === '!=';
  return { must: clauses.filter((_, i) => !isNot(i)), must_not: clauses.filter((_, i) => isNot(i)) };
}

/** What the client throws, as an error of ours: the server's own words where it has any. */
function failure(name: string, cause: unknown): Error {
  const data = (cause as { readonly data?: { readonly status?: { readonly error?: unknown } } }).data;
  const said = data?.status?.error;
  if (typeof said === 'string') return new InputError(`${name}: the server says: ${said}`, { cause });
  return new RuntimeUnavailableError(`${name}: the server does not answer: ${messageOf(cause)}`, { cause });
}
