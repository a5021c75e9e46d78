import { isAscii } from 'node:buffer';
import { randomUUID } from 'node:crypto';
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

/** Texts of so many bytes are pictures: parsing them with the rest would stop the event loop. */
const longText = 64 << 10;

/** A text within a body, without its quotes. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** A body as JSON. Throws HttpError 400 for what is none, and for what only takes time to parse. */
export function parseJsonBody(bytes: Buffer): unknown {
  const { text, cut } = withoutTexts(bytes, longTexts(bytes));
  const whole = (_: string, value: unknown) => (typeof value === 'string' ? (cut.get(value) ?? value) : value);
  try {
    return JSON.parse(text, cut.size === 0 ? undefined : whole) as unknown;
  } catch (cause) {
    throw new HttpError(400, 'invalid_json', `the body is not JSON: ${String((cause as Error).message).slice(0, 100)}`);
  }
}

/** The body with a mark instead of each of `ranges`, and what was there. */
function withoutTexts(bytes: Buffer, ranges: readonly Range[]) {
  // Nobody can know the marks of this body.
  const mark = ranges.length === 0 ? '' : randomUUID();
  const cut = new Map<string, string>();
  let [text, at] = ['', 0];
  for (const { start, end } of ranges) {
    const name = `${mark} ${cut.size}`;
    cut.set(name, bytes.toString('latin1', start, end));
    text += bytes.toString('utf8', at, start) + name;
    at = end;
  }
  return { text: text + bytes.toString('utf8', at), cut };
}

const [space, quote, colon, backslash] = [0x20, 0x22, 0x3a, 0x5c];

/** Passes over texts, however long they are, and counts the rest. Returns those that are long and stand for themselves. */
function longTexts(bytes: Buffer): Range[] {
  const found: Range[] = [];
  let count = 0;
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === quote) {
      const start = at + 1;
      do {
        at = bytes.indexOf(quote, at + 1);
        if (at < 0) return found;
        expectLittle(++count);
      } while (isEscaped(bytes, at));
      const long = at - start >= longText;
      if (long && isValue(bytes, at) && isPlain(bytes.subarray(start, at))) found.push({ start, end: at });
    }
    expectLittle(++count);
  }
  return found;
}

/** Whether what ends with the quote at `at` is no name of a field. */
function isValue(bytes: Buffer, at: number): boolean {
  let next = at + 1;
  while (next < bytes.length && bytes[next] <= space) next++;
  return bytes[next] !== colon;
}

const isPlain = (text: Buffer) => isAscii(text) && !text.includes(backslash);

function expectLittle(count: number): void {
  if (count > maxStructure) throw new HttpError(400, 'invalid_json', 'the body has more structure than any request');
}

function isEscaped(bytes: Buffer, at: number): boolean {
  let before = at - 1;
  while (bytes[before] === backslash) before--;
  return (at - before) % 2 === 0;
}

/** Bodies from this size on wait for a turn of their own. */
const largeBody = 256 << 10;

/** Gives every large piece of work a turn of the event loop of its own: others come in between. */
export function createTurns(): (bytes: number) => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  return (bytes) => {
    if (bytes < largeBody) return Promise.resolve();
    last = last.then(() => new Promise<void>((resolve) => void setImmediate(resolve)));
    return last;
  };
}
