import { readFileSync } from 'node:fs';
import { Writable } from 'node:stream';
import { after } from 'node:test';
import { pino } from 'pino';
import { createServer, type ServerOptions, type VaryclipServer } from '../../src/server/server.js';
import { fixturePath } from './fixtures.js';

export const pageBytes: Buffer = readFileSync(fixturePath('vary-tiny/e2e.png'));
export const dataUrl = (bytes: Uint8Array, type = 'image/png'): string =>
  `data:${type};base64,${Buffer.from(bytes).toString('base64')}`;
export const pageUrl: string = dataUrl(pageBytes);

/** A server without a port, and every line it logs. Closed after the tests. */
export function startServer(options: Partial<ServerOptions>): VaryclipServer & { readonly logged: string[] } {
  const logged: string[] = [];
  const sink = new Writable({
    write: (chunk: Buffer, _, done) => {
      logged.push(chunk.toString());
      done();
    },
  });
  const server = createServer({ models: [], load: { threads: 1 }, log: pino({ base: null }, sink), ...options });
  after(() => server.close());
  return { ...server, logged };
}

/** The data of server-sent events. */
export async function eventsOf(response: Response): Promise<string[]> {
  const text = await response.text();
  return text
    .split('\n\n')
    .filter((event) => event !== '')
    .map((event) => event.replace(/^data: /, ''));
}

export const post = (body: unknown, headers: Readonly<Record<string, string>> = {}): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: typeof body === 'string' ? body : JSON.stringify(body),
});
