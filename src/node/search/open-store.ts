import { InputError } from '../../core/errors.js';
import { asObject } from '../../core/json.js';
import type { ProductKernel } from '../../search/kernel.js';
import type { VectorStore } from '../../search/store.js';
import { type FlatStoreOptions, openFlatStore } from './flat-store.js';

/** What keeps the vectors: files of ours. */
export type StoreChoice = { readonly kind: 'flat' };

export function storeChoiceFrom(value: unknown, where: string): StoreChoice {
  const json = asObject(value, where);
  if (json['kind'] === 'flat') return { kind: 'flat' };
  throw new InputError(`${where}: kind: expected flat, got ${JSON.stringify(json['kind'])}`);
}

export type StoreTuning = Pick<FlatStoreOptions, 'listsFrom' | 'probes'>;

/** Opens the store of the index in `dir`. Its caller holds the lock when it writes. */
export async function openStore(
  dir: string,
  choice: StoreChoice,
  options: StoreTuning & { readonly dimension: number; readonly kernel: ProductKernel; readonly write: boolean },
): Promise<VectorStore> {
  switch (choice.kind) {
    case 'flat':
      return openFlatStore(dir, options);
  }
}
