import { HttpError } from './answers.js';
import type { ServerState } from './state.js';

/** A body that was received; its bytes count until `release`. */
export interface ReceivedBody {
  readonly bytes: Buffer;
  release(): void;
}

/** Reads a body within the limits. Throws HttpError 413, or 503 where too much is here already. */
export async function receiveBody(request: Request, state: ServerState): Promise<ReceivedBody> {
  const { maxBodyBytes, maxWaitingBytes } = state.limits;
  const tooLarge = () => new HttpError(413, 'body_too_large', `the body has more than ${maxBodyBytes} bytes`);
  if (Number(request.headers.get('content-length') ?? 0) > maxBodyBytes) throw tooLarge();
  let size = 0;
  const release = () => {
    state.bodyBytes -= size;
    size = 0;
  };
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
      size += chunk.length;
      state.bodyBytes += chunk.length;
      if (size > maxBodyBytes) throw tooLarge();
      if (state.bodyBytes > maxWaitingBytes) {
        throw new HttpError(503, 'overloaded', 'other requests take all the room there is for bodies');
      }
      chunks.push(chunk);
    }
  } catch (error) {
    release();
    throw error;
  }
  return { bytes: Buffer.concat(chunks), release };
}

/** Characters of JSON outside of its texts, and quotes within them, at most: what is within takes no time to speak of. */
const maxStructure = 100_000;

/** A body as JSON. Throws HttpError 400 for what is none, and for what only takes time to parse. */
export function parseJsonBody(bytes: Buffer): unknown {
  checkStructure(bytes);
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch (cause) {
    throw new HttpError(400, 'invalid_json', `the body is not JSON: ${String((cause as Error).message).slice(0, 100)}`);
  }
}

const [quote, backslash] = [0x22, 0x5c];

/** Passes over texts, however long they are, and counts the rest. */
function checkStructure(bytes: Buffer): void {
  let count = 0;
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === quote) {
      do {
        at = bytes.indexOf(quote, at + 1);
        if (at < 0) return;
        expectLittle(++count);
      } while (isEscaped(bytes, at));
    }
    expectLittle(++count);
  }
}

function expectLittle(count: number): void {
  if (count > maxStructure) throw new HttpError(400, 'invalid_json', 'the body has more structure than any request');
}

function isEscaped(bytes: Buffer, at: number): boolean {
  let before = at - 1;
  while (bytes[before] === backslash) before--;
  return (at - before) % 2 === 0;
}
