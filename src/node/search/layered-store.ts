import type { PictureInfo } from '../../search/picture.js';
import type { VectorStore } from '../../search/store.js';

/** What an update needs of a store. */
export type UpdatableStore = Omit<VectorStore, 'search' | 'dispose'>;

/** Where each path is. */
type Owners = Map<string, { readonly info: PictureInfo; readonly store: UpdatableStore }>;

/** Stores over each other: all are read, where several have a path the last one counts; only the last one is changed. */
export function layerStores(stores: readonly [...UpdatableStore[], UpdatableStore]): UpdatableStore {
  const top = stores[stores.length - 1];
  let found: Owners | undefined;
  const byPath = async () => {
    if (found) return found;
    const owners: Owners = new Map();
    for (const store of stores) for (const info of await store.list()) owners.set(info.path, { info, store });
    found = owners;
    return owners;
  };
  return {
    dimension: top.dimension,
    list: async () => [...(await byPath()).values()].map(({ info }) => info),
    vectors: async (paths) => {
      const owners = await byPath();
      const out = new Float32Array(paths.length * top.dimension);
      for (const [i, path] of paths.entries()) {
        out.set(await (owners.get(path)?.store ?? top).vectors([path]), i * top.dimension);
      }
      return out;
    },
    add: async (rows) => {
      await top.add(rows);
      for (const { info } of rows) found?.set(info.path, { info, store: top });
    },
    remove: (paths) => {
      // What is under it shows again.
      found = undefined;
      return top.remove(paths);
    },
    optimize: () => top.optimize(),
  };
}
