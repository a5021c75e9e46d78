/** The one way in which a picture comes from a URL: nothing is allowed that is not named. */
import { lookup } from 'node:dns/promises';
import { type RequestOptions, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP } from 'node:net';
import { AbortedError, DownloadError, InputError, messageOf } from '../core/errors.js';
import { isPublicAddress } from './address-policy.js';

/** What a server answered, before its body is read. */
export interface UrlAnswer {
  readonly status: number;
  readonly location: string | undefined;
  readonly body: AsyncIterable<Uint8Array>;
  /** Lets go of the connection. */
  close(): void;
}

export interface FetchImageOptions {
  /** Hosts that may be asked, as in `images.example.org` or `images.example.org:8443`. Default: none. */
  readonly allowedHosts?: readonly string[];
  /** Default 16 MiB. */
  readonly maxBytes?: number;
  /** Of the base64 of a data URL, and of any other URL. Default 24 MiB. */
  readonly maxUrlLength?: number;
  readonly maxRedirects?: number;
  /** For all of it. Default 10. */
  readonly seconds?: number;
  readonly signal?: AbortSignal;
  /** Addresses of a host name. Default: the system's resolver. */
  readonly resolve?: (host: string) => Promise<readonly string[]>;
  /** Which addresses may be connected to. Default: public ones. */
  readonly allowAddress?: (address: string) => boolean;
  /** Asks one address for a URL. Default: over HTTP or HTTPS. */
  readonly connect?: (url: URL, address: string, signal: AbortSignal) => Promise<UrlAnswer>;
}

const resolveHost = async (host: string): Promise<readonly string[]> =>
  (await lookup(host, { all: true })).map(({ address }) => address);

/**
 * The bytes of an image at a `data:` URL, or at an http(s) URL of an allowed host. The host's addresses are checked before one of
 * them is connected to, and that one is used, whatever the name says a moment later; redirects are checked in the same way. Throws
 * InputError for what is not allowed, DownloadError for what fails, AbortedError.
 */
export async function fetchImage(url: string, options: FetchImageOptions = {}): Promise<Uint8Array> {
  const { maxUrlLength = 24 << 20, maxRedirects = 3, seconds = 10, signal } = options;
  if (url.length > maxUrlLength) {
    throw new InputError(`image URL: has ${url.length} characters, at most ${maxUrlLength} are allowed`);
  }
  if (/^data:/i.test(url)) return decodeDataUrl(url, options);
  const timeout = AbortSignal.timeout(1000 * seconds);
  const either = signal ? AbortSignal.any([signal, timeout]) : timeout;
  let next = checkUrl(url, options);
  try {
    for (let redirects = 0; ; redirects++) {
      const answer = await ask(next, options, either);
      if (answer.location === undefined) return await readBody(answer, next, options);
      answer.close();
      if (redirects >= maxRedirects) throw new InputError(`image URL: more than ${maxRedirects} redirects`);
      next = checkUrl(new URL(answer.location, next).href, options);
    }
  } catch (cause) {
    if (signal?.aborted) throw new AbortedError('aborted by its signal', { cause });
    if (timeout.aborted) throw new DownloadError(`image URL: not there within ${seconds} s`, { cause });
    if (cause instanceof InputError || cause instanceof DownloadError) throw cause;
    throw new DownloadError(`image URL: cannot be fetched: ${messageOf(cause)}`, { cause });
  }
}

/** The bytes in `data:image/…;base64,…`. Throws InputError for anything else. */
export function decodeDataUrl(
  url: string,
  { maxBytes = 16 << 20 }: Pick<FetchImageOptions, 'maxBytes'> = {},
): Uint8Array {
  const head = /^data:([\w.+-]+\/[\w.+-]+)?((?:;[\w.+-]+=[\w.+-]+)*);base64,/i.exec(url.slice(0, 256));
  if (!head) throw new InputError('image URL: expected data:image/png;base64,… or the like');
  if (head[1] && !/^(image\/|application\/octet-stream$)/i.test(head[1])) {
    throw new InputError(`image URL: expected an image, got ${head[1]}`);
  }
  const text = url.slice(head[0].length);
  if ((text.length / 4) * 3 > maxBytes + 3) throw new InputError(`image URL: more than ${maxBytes} bytes`);
  const bytes = Buffer.from(text, 'base64');
  let length = text.length;
  while (text[length - 1] === '=') length--;
  // Buffer skips what is not base64: then it has fewer bytes than the text says.
  const wanted = Math.floor((length * 3) / 4);
  if (bytes.length !== wanted || bytes.length === 0)
    throw new InputError('image URL: what follows base64, is not base64');
  return bytes;
}

/** A URL that policy allows by its text. */
function checkUrl(text: string, { allowedHosts = [] }: FetchImageOptions): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw new InputError('image URL: is not a URL; give https://… or data:image/png;base64,…', { cause });
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new InputError(`image URL: ${url.protocol} is not allowed; give https://… or data:image/png;base64,…`);
  }
  if (url.username !== '' || url.password !== '') throw new InputError('image URL: a user name is not allowed');
  const host = url.hostname.toLowerCase().replace(/\.$/, '');
  const named = url.port === '' ? host : `${host}:${url.port}`;
  if (!allowedHosts.some((allowed) => allowed.toLowerCase() === named)) {
    throw new InputError(`image URL: the host ${named} is not allowed here; send the image itself as a data: URL`);
  }
  return url;
}

/** Asks the URL's host, at an address that is allowed. */
async function ask(url: URL, options: FetchImageOptions, signal: AbortSignal): Promise<UrlAnswer> {
  const { resolve = resolveHost, allowAddress = isPublicAddress, connect = connectTo } = options;
  const literal = url.hostname.replace(/^\[|\]$/g, '');
  const addresses = isIP(literal) ? [literal] : await resolve(literal);
  // One that is closed is enough: who answers with both wants the closed one to be tried.
  const closed = addresses.find((address) => !allowAddress(address));
  if (addresses.length === 0 || closed !== undefined) {
    throw new InputError(`image URL: the host ${url.hostname} has no public address`);
  }
  signal.throwIfAborted();
  return connect(url, addresses[0], signal);
}

function connectTo(url: URL, address: string, signal: AbortSignal): Promise<UrlAnswer> {
  const family = isIP(address);
  const pinned: RequestOptions['lookup'] = (_host, { all }, done) => {
    if (all) (done as unknown as (error: null, found: object[]) => void)(null, [{ address, family }]);
    else done(null, address, family);
  };
  const headers = { accept: 'image/*', 'accept-encoding': 'identity' };
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? requestHttps : requestHttp)(
      url,
      { headers, signal, lookup: pinned, agent: false, maxHeaderSize: 16 << 10 },
      (response) => {
        const { statusCode = 0, headers } = response;
        const moved = [301, 302, 303, 307, 308].includes(statusCode);
        resolve({
          status: statusCode,
          location: moved ? headers.location : undefined,
          body: response,
          close: () => response.destroy(),
        });
      },
    );
    request.on('error', reject);
    request.end();
  });
}

async function readBody(answer: UrlAnswer, url: URL, { maxBytes = 16 << 20 }: FetchImageOptions): Promise<Uint8Array> {
  try {
    if (answer.status !== 200) throw new DownloadError(`image URL: ${url.hostname} answered ${answer.status}`);
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of answer.body) {
      size += chunk.length;
      if (size > maxBytes) throw new InputError(`image URL: more than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } finally {
    answer.close();
  }
}
