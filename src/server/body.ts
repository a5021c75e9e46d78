import { AbortedError } from '../core/errors.js';
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
    if (error instanceof HttpError) throw error;
    throw new AbortedError('the client went away before its request was whole', { cause: error });
  }
  return { bytes: Buffer.concat(chunks), release };
}
