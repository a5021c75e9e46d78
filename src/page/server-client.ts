/** The server's routes as the page uses them. */
import { InputError } from '../core/errors.js';
import { eventData } from './event-data.js';
import type { PageReading, ReadLine, ReadPicture } from './reading.js';

/** The server wants a key, or another one. */
export class KeyWantedError extends InputError {
  override name = 'KeyWantedError';
}

export interface Score {
  readonly label: string;
  readonly score: number;
}

export interface Hit {
  readonly path: string;
  readonly score: number;
}

export interface ServerClient {
  useKey(key: string): void;
  /** Kinds of the models served; undefined where there is no server behind this page. */
  modelKinds(): Promise<readonly string[] | undefined>;
  readonly read: ReadPicture;
  classify(image: Blob, labels: readonly string[]): Promise<readonly Score[]>;
  search(query: { readonly text?: string; readonly image?: Blob }): Promise<readonly Hit[]>;
}

interface ReadBody {
  readonly object: 'reading';
  readonly text: string;
  readonly finish_reason: string;
  readonly warnings: readonly string[];
  readonly lines: readonly ReadLine[];
}

type ReadEvent = ReadBody | { readonly object: 'reading.text'; readonly text: string } | ErrorBody;

interface ErrorBody {
  readonly object?: undefined;
  readonly error: { readonly message: string };
}

export function createServerClient(): ServerClient {
  let key = '';
  const request = async (path: string, init: RequestInit): Promise<Response> => {
    const headers = new Headers(init.headers);
    if (key !== '') headers.set('authorization', `Bearer ${key}`);
    const response = await fetch(path, { ...init, headers }).catch((cause: unknown) => {
      if (init.signal?.aborted) throw cause;
      throw new InputError('the server does not answer; is it still running?', { cause });
    });
    if (response.status === 401) throw new KeyWantedError('this server wants a key');
    if (!response.ok) throw new InputError(await messageOf(response));
    return response;
  };
  const post = async <T>(path: string, body: object): Promise<T> => {
    const headers = { 'content-type': 'application/json' };
    const response = await request(path, { method: 'POST', headers, body: JSON.stringify(body) });
    return ((await response.json()) as { readonly data: T }).data;
  };
  return {
    useKey: (given) => {
      key = given;
    },
    modelKinds: async () => {
      // A static host has no such path, or answers it with a page.
      const response = await fetch('v1/models', { headers: key === '' ? {} : { authorization: `Bearer ${key}` } });
      if (response.status === 401) throw new KeyWantedError('this server wants a key');
      if (!response.ok || !response.headers.get('content-type')?.includes('json')) return undefined;
      const { data } = (await response.json()) as { readonly data: readonly { readonly kind: string }[] };
      return data.map(({ kind }) => kind);
    },
    read: async ({ file, onText, onStage, signal }) => {
      onStage('Reading on the server…');
      const headers = { 'content-type': 'application/octet-stream' };
      const response = await request('v1/read?stream=true', { method: 'POST', headers, body: file, signal });
      return readEvents(response, onText);
    },
    classify: async (image, labels) => post('v1/classify', { image: await dataUrl(image), labels }),
    search: async ({ text, image }) =>
      post('v1/search', {
        top: 20,
        ...(text !== undefined && { text }),
        ...(image && { image: await dataUrl(image) }),
      }),
  };
}

async function messageOf(response: Response): Promise<string> {
  const text = await response.text();
  try {
    return (JSON.parse(text) as ErrorBody).error.message;
  } catch {
    return `the server answered ${response.status} and did not say why`;
  }
}

async function readEvents(response: Response, onText: (text: string) => void): Promise<PageReading> {
  if (!response.body) throw new InputError('the server answered nothing');
  let result: PageReading | undefined;
  for await (const data of eventData(response.body)) {
    if (data === '[DONE]') continue;
    const event = JSON.parse(data) as ReadEvent;
    if (event.object === undefined) throw new InputError(event.error.message);
    if (event.object === 'reading.text') onText(event.text);
    else {
      const { text, warnings, lines, finish_reason } = event;
      result = { text, warnings, lines, finishReason: finish_reason };
    }
  }
  if (!result) throw new InputError('the server stopped in the middle; try again');
  return result;
}

function dataUrl(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as string);
    reader.onerror = () =>
      reject(new InputError('the picture cannot be read from this device', { cause: reader.error }));
    reader.readAsDataURL(blob);
  });
}
