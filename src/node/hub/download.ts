import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { AbortedError, DownloadError, messageOf, VaryclipError } from '../../core/errors.js';
import { makeDirectory } from '../place.js';
import { withLock } from './lock.js';

/** What a file must turn out to be. */
export interface Expected {
  /** In messages. */
  readonly name: string;
  readonly size: number;
  /** `sha256`: of the content (large files); `git`: the id that git gives it. */
  readonly checksum: { readonly kind: 'sha256' | 'git'; readonly hex: string };
}

export interface DownloadOptions {
  /** Sends one request; must not follow to anywhere with the token that the token is not for. */
  readonly request: (headers: Readonly<Record<string, string>>, signal: AbortSignal) => Promise<Response>;
  readonly signal?: AbortSignal;
  /** Bytes there so far. */
  readonly onBytes?: (done: number) => void;
  /** How often a cut connection is taken up again. */
  readonly retries?: number;
  /** Milliseconds before the first of them; doubled each time. */
  readonly retryDelay?: number;
  /** Milliseconds without a byte after which a connection counts as cut. */
  readonly stallTimeout?: number;
}

/** A failure that another attempt may not have. */
class TransferError extends Error {}

/**
 * Downloads to `path`, which appears when the content is complete and right. What came before an interruption stays in
 * `<path>.incomplete` and is continued next time. Throws DownloadError, AbortedError, or what `request` throws.
 */
export async function downloadFile(path: string, expected: Expected, options: DownloadOptions): Promise<void> {
  makeDirectory(dirname(path));
  await withLock(`${path}.lock`, expected.name, async () => {
    const partial = `${path}.incomplete`;
    const resumed = await sizeOf(partial);
    await transfer(partial, expected, options);
    if (await isRight(partial, expected)) return rename(partial, path);
    await rm(partial, { force: true });
    if (resumed > 0) {
      // The part that was there may have been the wrong one: once more, from the start.
      await transfer(partial, expected, options);
      if (await isRight(partial, expected)) return rename(partial, path);
      await rm(partial, { force: true });
    }
    const { kind, hex } = expected.checksum;
    throw new DownloadError(
      `${expected.name}: the ${kind === 'git' ? 'git id' : 'sha256'} is not ${hex}: the server or something on the way damaged it; nothing was kept, try again`,
    );
  });
}

async function transfer(partial: string, expected: Expected, options: DownloadOptions): Promise<void> {
  const { retries = 5, retryDelay = 500, signal } = options;
  for (let attempt = 0; ; attempt++) {
    const before = await sizeOf(partial);
    try {
      return await transferOnce(partial, expected, options);
    } catch (error) {
      if (signal?.aborted) {
        throw new AbortedError(`${expected.name}: interrupted; the next pull goes on where this one stopped`);
      }
      if (error instanceof VaryclipError) throw error;
      const advanced = (await sizeOf(partial)) > before;
      if (advanced) attempt = -1;
      if (attempt >= retries || retries === 0) {
        throw new DownloadError(
          `${expected.name}: stopped at byte ${await sizeOf(partial)} of ${expected.size}: ${messageOf(error)}; run it again to go on from there`,
          { cause: error },
        );
      }
      await delay(retryDelay * 2 ** Math.max(attempt, 0), undefined, signal && { signal }).catch(() => {});
    }
  }
}

async function transferOnce(partial: string, { name, size }: Expected, options: DownloadOptions): Promise<void> {
  let start = await sizeOf(partial);
  if (start > size) {
    await rm(partial, { force: true });
    start = 0;
  }
  if (start === size && size > 0) return;
  const stall = createStall(options);
  try {
    const response = await options.request(start > 0 ? { Range: `bytes=${start}-` } : {}, stall.signal);
    if (response.status === 416) {
      await rm(partial, { force: true });
      throw new TransferError('the server does not have the rest');
    }
    if (!response.ok) throw new TransferError(`the server answered ${response.status}`);
    const continues = response.status === 206 && startOf(response) === start;
    if (response.status === 206 && !continues) throw new TransferError('the server sent another part than asked for');
    const file = await open(partial, continues ? 'a' : 'w');
    try {
      let done = continues ? start : 0;
      for await (const chunk of response.body ?? []) {
        stall.touch();
        done += chunk.length;
        if (done > size) break;
        await file.writeFile(chunk);
        options.onBytes?.(done);
      }
      await file.sync();
      if (done > size) {
        await rm(partial, { force: true });
        throw new DownloadError(`${name}: expected ${size} bytes, the server sends more`);
      }
      if (done < size) throw new TransferError('the connection was cut');
    } finally {
      await file.close();
    }
  } finally {
    stall.stop();
  }
}

/** A signal that fires with the caller's, and where nothing came for too long. */
function createStall({ signal, stallTimeout = 60_000 }: DownloadOptions) {
  const controller = new AbortController();
  const abort = () => controller.abort(signal?.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort, { once: true });
  const fire = () => controller.abort(new TransferError(`nothing came for ${stallTimeout / 1000} s`));
  let timer = setTimeout(fire, stallTimeout);
  return {
    signal: controller.signal,
    touch: () => {
      clearTimeout(timer);
      timer = setTimeout(fire, stallTimeout);
    },
    stop: () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    },
  };
}

const startOf = (response: Response): number =>
  Number(/^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1] ?? Number.NaN);

const sizeOf = (path: string): Promise<number> =>
  stat(path).then(
    ({ size }) => size,
    () => 0,
  );

/** Whether a file has the size and checksum it should have. */
export async function isRight(path: string, { size, checksum }: Expected): Promise<boolean> {
  if ((await sizeOf(path)) !== size) return false;
  const hash = createHash(checksum.kind === 'git' ? 'sha1' : 'sha256');
  if (checksum.kind === 'git') hash.update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Uint8Array);
  return hash.digest('hex') === checksum.hex;
}
