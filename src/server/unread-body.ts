/** Answers that are given before the body of their request is here: the connection ends with them, and that is said. */
import type { IncomingMessage } from 'node:http';
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';

/** What is still sent is thrown away for so many milliseconds and bytes: whoever sends would see a reset and no answer. */
const mostMilliseconds = 500;
const mostBytes = 1 << 26;

/** Says that the connection is closed where a body is not here in full, and holds its end back until it is, or was waited for. */
export async function closeUnread(c: Context): Promise<void> {
  const incoming = (c.env as Partial<HttpBindings> | undefined)?.incoming as IncomingMessage | undefined;
  // What comes with a GET is Node's to throw away.
  if (!incoming || ['GET', 'HEAD'].includes(c.req.method) || isOver(incoming)) return;
  // What came in one piece with its headers is here after this turn.
  await new Promise((resolve) => setImmediate(resolve));
  if (isOver(incoming)) return;
  const { status, headers } = c.res;
  const bytes = new Uint8Array(await c.res.arrayBuffer());
  headers.set('Connection', 'close');
  if (bytes.length === 0) return;
  headers.set('Content-Length', String(bytes.length));
  const sent = restOf(incoming);
  const body = new ReadableStream<Uint8Array>({
    start: async (controller) => {
      controller.enqueue(bytes);
      await sent;
      controller.close();
    },
  });
  c.res = new Response(body, { status, headers });
}

const isOver = ({ complete, destroyed }: IncomingMessage): boolean => complete || destroyed;

function restOf(incoming: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    const late = setTimeout(resolve, mostMilliseconds);
    const done = () => {
      clearTimeout(late);
      resolve();
    };
    let size = 0;
    // Who read the body until it was too much has stopped, and would keep what comes.
    incoming.removeAllListeners('data');
    incoming.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > mostBytes) done();
    });
    for (const event of ['end', 'close', 'error']) incoming.once(event, done);
    incoming.resume();
  });
}
