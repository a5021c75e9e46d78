import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after } from 'node:test';

export interface HubFile {
  readonly content: Uint8Array;
  /** Large files are sent on to another server and have a sha256. */
  readonly lfs?: boolean;
}

export interface FakeHub {
  readonly endpoint: string;
  readonly storage: string;
  readonly commit: string;
  readonly id: string;
  readonly files: Map<string, HubFile>;
  /** Every request: server, path, and the headers that matter. */
  readonly requests: { readonly server: 'hub' | 'storage'; path: string; token?: string; range?: string }[];
  /** Tells how much of a file the client has: a cut waits for it, since what was not read yet is lost with the connection. */
  arrived(bytes: number): void;
  /** What the server does wrong. */
  readonly faults: {
    /** Needs this token. */
    token?: string;
    /** Closes the connection once so many bytes of a file have `arrived`, once for each number. */
    cutAfter?: number[];
    /** Answers file requests so, once for each number. */
    statuses?: number[];
    /** Ignores Range. */
    noRange?: boolean;
    /** Flips a byte of this file. */
    damage?: string;
    /** Appended to what is listed. */
    listed?: unknown[];
    /** Sends no bytes of files. */
    silent?: boolean;
    /** Sends so many bytes too many. */
    extra?: number;
    /** `Link: next` of the listing. */
    next?: string;
    sha?: unknown;
  };
}

const gitId = (content: Uint8Array) =>
  createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
const sha256 = (content: Uint8Array) => createHash('sha256').update(content).digest('hex');

async function listen(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server: Server = createServer(handler);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A server that speaks the hub's protocol for one model, and one that stores its large files. */
export async function startHub(files: Readonly<Record<string, HubFile>>, id = 'org/name'): Promise<FakeHub> {
  const commit = '0123456789abcdef0123456789abcdef01234567';
  const requests: FakeHub['requests'] = [];
  const faults: FakeHub['faults'] = {};
  const table = new Map(Object.entries(files));
  const log = (server: 'hub' | 'storage', { url = '', headers }: IncomingMessage) =>
    requests.push({
      server,
      path: url,
      ...(headers.authorization && { token: headers.authorization }),
      ...(headers.range && { range: headers.range }),
    });

  let cutAt: { readonly bytes: number; cut(): void } | undefined;
  const arrived = (bytes: number) => {
    if (cutAt && bytes >= cutAt.bytes) cutAt.cut();
  };

  const sendFile = (request: IncomingMessage, response: ServerResponse, { content }: HubFile) => {
    const status = faults.statuses?.shift();
    if (status) return void response.writeHead(status).end();
    const range = faults.noRange ? undefined : /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
    const start = Number(range ?? 0);
    if (range && start >= content.length) return void response.writeHead(416).end();
    let body = Buffer.from(content.subarray(start));
    if (faults.damage && request.url?.endsWith(faults.damage)) body[body.length - 1] ^= 1;
    if (faults.extra) body = Buffer.concat([body, Buffer.alloc(faults.extra)]);
    const contentRange = { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` };
    response.writeHead(range ? 206 : 200, { 'content-length': body.length, ...(range && contentRange) });
    if (faults.silent) return void response.flushHeaders();
    const cut = faults.cutAfter?.shift();
    if (cut === undefined || cut >= body.length) return void response.end(body);
    response.write(body.subarray(0, cut));
    cutAt = { bytes: start + cut, cut: () => response.destroy() };
  };

  const storage = await listen((request, response) => {
    log('storage', request);
    const file = table.get(decodeURIComponent((request.url ?? '').slice(1)));
    if (file) sendFile(request, response, file);
    else response.writeHead(404).end();
  });

  const json = (response: ServerResponse, value: unknown, status = 200, headers: Record<string, string> = {}) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));

  const listing = () => [
    ...[...table].map(([path, { content, lfs }]) => ({
      type: 'file',
      path,
      size: content.length,
      oid: gitId(content),
      ...(lfs && { lfs: { oid: sha256(content), size: content.length, pointerSize: 134 } }),
    })),
    { type: 'directory', path: 'onnx', size: 0, oid: gitId(new Uint8Array()) },
    ...(faults.listed ?? []),
  ];

  const endpoint = await listen((request, response) => {
    log('hub', request);
    const path = (request.url ?? '').split('?')[0];
    const allowed = !faults.token || request.headers.authorization === `Bearer ${faults.token}`;
    const known = path.startsWith(`/api/models/${id}/`) || path.startsWith(`/${id}/resolve/`);
    if (!allowed || !known) return json(response, { error: 'Invalid credentials' }, allowed ? 404 : 401);
    const revision = /\/revision\/([^/]+)$/.exec(path)?.[1];
    if (revision) {
      if (![commit, 'main', 'v1.0', 'refs%2Fpr%2F1'].includes(revision))
        return json(response, { error: 'Invalid rev id' }, 404);
      return json(response, {
        _id: '1',
        id,
        sha: 'sha' in faults ? faults.sha : commit,
        lastModified: '2024-01-01T00:00:00Z',
      });
    }
    if (path.includes('/tree/'))
      return json(response, listing(), 200, faults.next ? { Link: `<${faults.next}>; rel="next"` } : {});
    const name = decodeURIComponent(path.slice(`/${id}/resolve/${commit}/`.length));
    const file = table.get(name);
    if (!file) return json(response, { error: 'Entry not found' }, 404);
    if (file.lfs) return response.writeHead(302, { location: `${storage}/${encodeURIComponent(name)}` }).end();
    return sendFile(request, response, file);
  });
  return { endpoint, storage, commit, id, files: table, requests, arrived, faults };
}
