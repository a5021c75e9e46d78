import { InputError } from '../../core/errors.js';
import { asObject } from '../../core/json.js';
import type { ProductKernel } from '../../search/kernel.js';
import type { VectorStore } from '../../search/store.js';
import { type FlatStoreOptions, openFlatStore } from './flat-store.js';
import { openLanceStore } from './lance-store.js';
import { openQdrantStore } from './qdrant-store.js';

/** What keeps the vectors: files of ours, LanceDB's files, or a Qdrant server. */
export type StoreChoice =
  | { readonly kind: 'flat' }
  | { readonly kind: 'lancedb' }
  | { readonly kind: 'qdrant'; readonly url: string; readonly collection: string };

export function storeChoiceFrom(value: unknown, where: string): StoreChoice {
  const json = asObject(value, where);
  const text = (name: string) => {
    if (typeof json[name] === 'string') return json[name] as string;
    throw new InputError(`${where}: ${name}: expected text, got ${JSON.stringify(json[name])}`);
  };
  if (json['kind'] === 'flat' || json['kind'] === 'lancedb') return { kind: json['kind'] };
  if (json['kind'] === 'qdrant') return { kind: 'qdrant', url: text('url'), collection: text('collection') };
  throw new InputError(`${where}: kind: expected flat, lancedb or qdrant, got ${JSON.stringify(json['kind'])}`);
}

/** A store as the command line names it: `flat`, `lancedb`, or a server's address with a collection. */
export function parseStore(text: string): StoreChoice {
  if (text === 'flat' || text === 'lancedb') return { kind: text };
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const collection = url?.pathname.slice(1) ?? '';
  if (!url || !/^https?:$/.test(url.protocol) || !/^[\w-]+$/.test(collection) || url.search || url.hash) {
    throw new InputError(
      `--store: expected flat, lancedb or http://host:6333/COLLECTION of a Qdrant server, got ${text}`,
    );
  }
  if (url.username || url.password)
    throw new InputError('--store: an address with a password would be kept in the index');
  return { kind: 'qdrant', url: url.origin, collection };
}

export interface StoreTuning extends Pick<FlatStoreOptions, 'listsFrom' | 'probes'> {
  /** Of a Qdrant server. It is not kept. */
  readonly apiKey?: string;
}

/** Opens the store of the index in `dir`. Its caller holds the lock when it writes. */
export async function openStore(
  dir: string,
  choice: StoreChoice,
  options: StoreTuning & { readonly dimension: number; readonly kernel: ProductKernel; readonly write: boolean },
): Promise<VectorStore> {
  switch (choice.kind) {
    case 'flat':
      return openFlatStore(dir, options);
    case 'lancedb':
      return openLanceStore(dir, options);
    case 'qdrant':
      return openQdrantStore(choice.url, choice.collection, options);
  }
}
