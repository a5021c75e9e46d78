/** The page's static files, and the built-in reader's for reading in the browser. Nobody needs a key for them. */
import { createReadStream, existsSync, readdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Context } from 'hono';
import { builtinFolder, defaultReader } from '../node/builtin-models.js';

/** The names of the files by the path they are served at. */
export type PageFiles = ReadonlyMap<string, string>;

const types: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
};

/** Nothing but this server is asked for anything; only WebAssembly is compiled; no script, style or frame comes from elsewhere. */
const policy = [
  "default-src 'self'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "img-src 'self' blob:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** `dist/page`, beside `dist/src`. */
const builtPage = (): string => fileURLToPath(new URL('../../page', import.meta.url));

/** What there is of the page, found once: a request's path is only ever looked up, never made into a file's name. */
export function findPageFiles(page: string = builtPage(), model: string = builtinFolder(defaultReader)): PageFiles {
  const files = new Map<string, string>();
  const add = (folder: string, at: string) => {
    if (!existsSync(folder)) return;
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.isFile()) files.set(at + entry.name, join(folder, entry.name));
    }
  };
  add(page, '/');
  add(model, `/models/${defaultReader}/`);
  const index = files.get('/index.html');
  if (index !== undefined) files.set('/', index);
  return files;
}

/** Answers with a file of the page, from the disk as it is sent; undefined where the path is not one. */
export async function answerPageFile(files: PageFiles, c: Context): Promise<Response | undefined> {
  const path = files.get(c.req.path);
  if (path === undefined) return undefined;
  const { size, mtimeMs } = await stat(path);
  const etag = `"${size.toString(36)}-${Math.round(mtimeMs).toString(36)}"`;
  const headers = {
    'content-type': types[extname(path)] ?? 'application/octet-stream',
    'content-security-policy': policy,
    'cache-control': 'no-cache',
    etag,
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  };
  if (c.req.header('if-none-match') === etag) return c.body(null, 304, headers);
  if (c.req.method === 'HEAD') return c.body(null, 200, { ...headers, 'content-length': String(size) });
  const body = Readable.toWeb(createReadStream(path)) as ReadableStream<Uint8Array>;
  return c.body(body, 200, { ...headers, 'content-length': String(size) });
}
