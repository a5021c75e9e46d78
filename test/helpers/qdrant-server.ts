import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after } from 'node:test';

interface Point {
  readonly id: string;
  readonly vector: readonly number[];
  readonly payload: Readonly<Record<string, unknown>>;
}
interface Clause {
  readonly key: string;
  readonly range?: { readonly lt?: number; readonly lte?: number; readonly gt?: number; readonly gte?: number };
  readonly match?: { readonly value: unknown };
}
interface Filter {
  readonly must?: readonly Clause[];
  readonly must_not?: readonly Clause[];
}
interface Collection {
  readonly params: { readonly size: number; readonly distance: string };
  readonly points: Map<string, Point>;
}
type Body = Readonly<Record<string, unknown>>;

export interface FakeQdrant {
  readonly url: string;
  readonly collections: Map<string, Collection>;
  /** The api-key header of every request. */
  readonly keys: (string | undefined)[];
}

const holds = ({ payload }: Point, { key, range, match }: Clause): boolean => {
  const value = payload[key];
  if (match) return value === match.value;
  const { lt, lte, gt, gte } = range ?? {};
  if (typeof value !== 'number') return false;
  return (
    (lt === undefined || value < lt) &&
    (lte === undefined || value <= lte) &&
    (gt === undefined || value > gt) &&
    (gte === undefined || value >= gte)
  );
};
const passes = (point: Point, { must = [], must_not: not = [] }: Filter) =>
  must.every((clause) => holds(point, clause)) && !not.some((clause) => holds(point, clause));

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const unit = (vector: readonly number[]) => {
  const length = Math.hypot(...vector);
  return vector.map((x) => Math.fround(x / length));
};

class Refused extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

function expectCollection(collections: Map<string, Collection>, name: string): Collection {
  const found = collections.get(name);
  if (!found) throw new Refused(404, `Not found: Collection \`${name}\` doesn't exist!`);
  return found;
}

const shown = ({ id, vector, payload }: Point, body: Body) => ({
  id,
  ...(body['with_payload'] !== false && { payload }),
  ...(body['with_vector'] === true && { vector }),
});

/** What the server answers to each call, by method and path below the collection. */
const calls: Readonly<Record<string, (collection: Collection, body: Body) => unknown>> = {
  'GET ': ({ params, points }) => ({
    status: 'green',
    points_count: points.size,
    config: { params: { vectors: params } },
  }),
  'PUT /points': ({ params, points }, body) => {
    for (const point of body['points'] as Point[]) {
      if (!uuid.test(point.id)) throw new Refused(400, `value ${point.id} is not a valid point ID`);
      if (point.vector.length !== params.size) throw new Refused(400, 'Wrong input: Vector dimension error');
      points.set(point.id, { ...point, vector: unit(point.vector) });
    }
    return { operation_id: 0, status: 'completed' };
  },
  'POST /points': ({ points }, body) =>
    (body['ids'] as string[]).flatMap((id) => {
      const point = points.get(id);
      return point ? [shown(point, body)] : [];
    }),
  'POST /points/delete': ({ points }, body) => {
    for (const id of body['points'] as string[]) points.delete(id);
    return { operation_id: 0, status: 'completed' };
  },
  'POST /points/scroll': ({ points }, body) => {
    const ids = [...points.keys()].sort();
    const from = body['offset'] === undefined ? 0 : ids.indexOf(String(body['offset']));
    // Smaller pages than asked for: the client has to come again.
    const end = from + Math.min(Number(body['limit']), 15);
    const page = ids.slice(from, end).map((id) => shown(points.get(id) as Point, body));
    return { points: page, next_page_offset: ids[end] ?? null };
  },
  'POST /points/query': ({ points }, body) => {
    const query = unit(body['query'] as number[]);
    const found = [...points.values()]
      .filter((point) => passes(point, (body['filter'] ?? {}) as Filter))
      .map((point) => ({
        ...shown(point, body),
        version: 0,
        score: point.vector.reduce((sum, x, i) => sum + x * query[i], 0),
      }));
    return { points: found.sort((a, b) => b.score - a.score).slice(0, Number(body['limit'])) };
  },
};

function answer(collections: Map<string, Collection>, method: string, path: string, body: Body): unknown {
  const [, name, rest] = /^\/collections\/([^/]+)(.*)$/.exec(path) ?? [];
  if (name === undefined) throw new Refused(404, `no such path ${path}`);
  if (rest === '/exists') return { exists: collections.has(name) };
  if (method === 'PUT' && rest === '') {
    const params = body['vectors'] as Collection['params'];
    collections.set(name, { params, points: new Map() });
    return true;
  }
  const call = calls[`${method} ${rest}`];
  if (!call) throw new Refused(404, `no such call ${method} ${rest}`);
  return call(expectCollection(collections, name), body);
}

async function bodyOf(request: IncomingMessage): Promise<Body> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return chunks.length === 0 ? {} : (JSON.parse(Buffer.concat(chunks).toString()) as Body);
}

/** A server that speaks as much of Qdrant's REST interface (api.qdrant.tech) as the store uses; it compares with every point. */
export async function startQdrant(key?: string): Promise<FakeQdrant> {
  const collections = new Map<string, Collection>();
  const keys: (string | undefined)[] = [];
  const server = createServer(async (request, response) => {
    const send = (status: number, content: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(content));
    };
    const given = request.headers['api-key'] as string | undefined;
    keys.push(given);
    try {
      const body = await bodyOf(request);
      if (key !== undefined && given !== key) throw new Refused(401, 'Must provide an API key');
      const [path] = (request.url ?? '').split('?');
      send(200, { result: answer(collections, request.method ?? '', path, body), status: 'ok', time: 0.001 });
    } catch (error) {
      const status = error instanceof Refused ? error.status : 500;
      send(status, { status: { error: String((error as Error).message) }, time: 0.001 });
    }
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, collections, keys };
}
