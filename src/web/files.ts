import { InputError, messageOf } from '../core/errors.js';

/** The bytes of a file by its URL; undefined where there is none. */
export type FetchFile = (url: string) => Promise<Uint8Array | undefined>;

export interface FetchFilesOptions {
  /** The name that files are kept under; a new one for new contents. */
  readonly cacheName?: string;
}

/**
 * Fetches files and keeps them with the Cache API. A kept file is asked for again with its ETag, so that a new one is seen: that costs a
 * request and no bytes. Where there is no Cache API (no https), the browser's own cache is all.
 */
export function fetchFiles({ cacheName = 'varyclip' }: FetchFilesOptions = {}): FetchFile {
  return async (url) => {
    const cache = 'caches' in globalThis ? await caches.open(cacheName) : undefined;
    const kept = await cache?.match(url);
    const etag = kept?.headers.get('etag');
    const response = await fetch(url, etag ? { headers: { 'if-none-match': etag }, cache: 'no-store' } : {}).catch(
      (cause: unknown) => {
        // Without a network what is kept is what there is.
        if (kept) return kept;
        throw new InputError(`${url}: cannot be fetched: ${messageOf(cause)}`, { cause });
      },
    );
    if (response.status === 304 && kept) return bytesOf(kept);
    if (response.status === 404) return undefined;
    if (!response.ok) throw new InputError(`${url}: the server answered ${response.status}`);
    if (response !== kept) await cache?.put(url, response.clone());
    return bytesOf(response);
  };
}

const bytesOf = async (response: Response) => new Uint8Array(await response.arrayBuffer());
