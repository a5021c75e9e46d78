import { join } from 'node:path';
import { AbortedError, DownloadError, InputError, messageOf, VaryclipError, WeightsError } from '../../core/errors.js';
import { readShardIndex } from '../../weights/checkpoint.js';
import { sideFiles } from '../checkpoint-files.js';
import { fileSource } from '../files.js';
import {
  defaultRevision,
  expectRevision,
  findSnapshot,
  isCommit,
  linkBlob,
  type RepoCache,
  repoCache,
} from './cache.js';
import { type DownloadOptions, downloadFile, type Expected, isRight } from './download.js';
import type { HubSettings } from './settings.js';

export interface PullProgress {
  readonly file: string;
  /** Of this file. */
  readonly done: number;
  readonly size: number;
}

export interface PullOptions extends Pick<DownloadOptions, 'signal' | 'retries' | 'retryDelay' | 'stallTimeout'> {
  readonly settings: HubSettings;
  /** A branch, a tag or a commit. Default main. */
  readonly revision?: string;
  readonly onProgress?: (progress: PullProgress) => void;
}

export interface PulledFile {
  readonly name: string;
  readonly size: number;
  /** False where it was in the cache already. */
  readonly downloaded: boolean;
}

export interface PulledModel {
  readonly id: string;
  readonly revision: string;
  readonly commit: string;
  /** The checkpoint directory. */
  readonly directory: string;
  readonly files: readonly PulledFile[];
}

type HubLibrary = typeof import('@huggingface/hub');

/** What requests about one model need. */
interface Repo {
  readonly id: string;
  readonly hub: HubLibrary;
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly fetch: typeof fetch;
}

interface Entry {
  readonly size: number;
  readonly checksum: Expected['checksum'];
}

/** More files than any model has in its root. */
const maxEntries = 10_000;

/**
 * Downloads a model into the cache that Hugging Face's libraries share. Only the files of a checkpoint are taken, by their plain
 * names; each is checked against the hub's checksum before it gets its name. Throws InputError where the model is not there or
 * not allowed, DownloadError where the transfer fails, AbortedError.
 */
export async function pullModel(id: string, options: PullOptions): Promise<PulledModel> {
  const { settings, revision = defaultRevision, signal } = options;
  const cache = repoCache(settings.cacheDir, id);
  expectRevision(revision);
  if (settings.offline) return fromCache(id, revision, cache, settings);
  const repo = await openRepo(id, settings, signal);
  const commit = await asTyped(repo, signal, () => commitOf(repo, revision));
  const listing = await asTyped(repo, signal, () => listEntries(repo, commit));
  const files: PulledFile[] = [];
  const fetchFile = async (name: string): Promise<string> => {
    const entry = listing.get(name);
    if (!entry) throw new WeightsError(`${id}: ${name} is missing, which its index names`);
    const blob = join(cache.blobs, entry.checksum.hex);
    const expected: Expected = { name: `${id}/${name}`, ...entry };
    const downloaded = !(await isRight(blob, expected));
    if (downloaded) {
      await downloadFile(blob, expected, {
        ...options,
        request: (headers, stop) => requestFile(repo, commit, name, headers, stop),
        onBytes: (done) => options.onProgress?.({ file: name, done, size: entry.size }),
      });
    }
    files.push({ name, size: entry.size, downloaded });
    return blob;
  };
  const names = sideFiles.filter((name) => listing.has(name));
  if (!listing.has('config.json')) throw new InputError(`${id}: is not a checkpoint: it has no config.json`);
  const blobs = new Map<string, string>();
  for (const name of names) blobs.set(name, await fetchFile(name));
  for (const [name, blob] of await fetchWeights(id, listing, fetchFile)) blobs.set(name, blob);
  // Names come last, so that a snapshot is there as a whole; config.json, which is looked for, after all others.
  const order = [...blobs.keys()].sort((a, b) => Number(a === 'config.json') - Number(b === 'config.json'));
  for (const name of order) linkBlob(blobs.get(name)!, join(cache.snapshot(commit), name));
  if (!isCommit(revision)) cache.setRef(revision, commit);
  return { id, revision, commit, directory: cache.snapshot(commit), files };
}

function fromCache(id: string, revision: string, cache: RepoCache, { cacheDir }: HubSettings): PulledModel {
  const directory = findSnapshot(cacheDir, id, revision);
  const commit = cache.commitOf(revision);
  if (directory && commit) return { id, revision, commit, directory, files: [] };
  throw new InputError(`${id}: ${revision} is not in the cache ${cacheDir}, and HF_HUB_OFFLINE forbids downloading it`);
}

/** The weights of the first layout that is there: one file, or an index and its shards; safetensors before torch files. */
async function fetchWeights(
  id: string,
  listing: ReadonlyMap<string, Entry>,
  fetchFile: (name: string) => Promise<string>,
): Promise<[name: string, blob: string][]> {
  for (const file of ['model.safetensors', 'pytorch_model.bin']) {
    if (listing.has(file)) return [[file, await fetchFile(file)]];
    const index = `${file}.index.json`;
    if (!listing.has(index)) continue;
    const blob = await fetchFile(index);
    const source = fileSource(blob);
    try {
      const found: [string, string][] = [[index, blob]];
      for (const shard of new Set((await readShardIndex(source)).values()))
        found.push([shard, await fetchShard(shard)]);
      return found;
    } finally {
      source.dispose?.();
    }
  }
  throw new InputError(`${id}: has no weights; looked for model.safetensors, pytorch_model.bin and their indexes`);

  async function fetchShard(name: string): Promise<string> {
    if (/\.(safetensors|bin)$/.test(name)) return fetchFile(name);
    throw new WeightsError(`${id}: expected shards to be .safetensors or .bin files, got ${name}`);
  }
}

async function openRepo(id: string, { endpoint, token }: HubSettings, signal?: AbortSignal): Promise<Repo> {
  const hub = await import('@huggingface/hub');
  const base = endpoint ?? hub.HUB_URL;
  return {
    id,
    hub,
    endpoint: base,
    token,
    // The next page's address comes from the server: the token goes nowhere else.
    fetch: (input, init) => {
      const url = input instanceof Request ? input.url : String(input);
      if (new URL(url).origin !== new URL(base).origin) {
        throw new DownloadError(`${id}: the hub sent a link to another place, ${new URL(url).origin}`);
      }
      return fetch(input, { ...init, ...(signal && { signal }) });
    },
  };
}

const credentials = ({ token, endpoint, fetch }: Repo) => ({
  hubUrl: endpoint,
  fetch,
  ...(token !== undefined && { accessToken: token }),
});

async function commitOf(repo: Repo, revision: string): Promise<string> {
  const { sha } = await repo.hub.modelInfo({
    name: repo.id,
    revision,
    additionalFields: ['sha'],
    ...credentials(repo),
  });
  if (typeof sha === 'string' && isCommit(sha)) return sha;
  throw new DownloadError(`${repo.id}: expected the hub to name a commit, got ${JSON.stringify(sha)?.slice(0, 80)}`);
}

/** Size and checksum of the files in the root, by name. What has another kind of checksum is left out. */
async function listEntries(repo: Repo, commit: string): Promise<ReadonlyMap<string, Entry>> {
  const entries = new Map<string, Entry>();
  const files = repo.hub.listFiles({ repo: { type: 'model', name: repo.id }, revision: commit, ...credentials(repo) });
  let seen = 0;
  for await (const { type, path, size, oid, lfs } of files) {
    if (++seen > maxEntries) throw new DownloadError(`${repo.id}: has more than ${maxEntries} files`);
    if (type !== 'file') continue;
    const checksum: Expected['checksum'] = lfs ? { kind: 'sha256', hex: lfs.oid } : { kind: 'git', hex: String(oid) };
    const isHex = new RegExp(`^[0-9a-f]{${checksum.kind === 'git' ? 40 : 64}}$`).test(checksum.hex);
    const bytes = lfs ? lfs.size : size;
    if (!isHex || !Number.isSafeInteger(bytes) || bytes < 0) {
      throw new DownloadError(`${repo.id}: ${JSON.stringify(path)}: expected a size and a checksum from the hub`);
    }
    entries.set(path, { size: bytes, checksum });
  }
  return entries;
}

/** fetch drops the token where it is sent on to another origin, as large files are. */
async function requestFile(
  { id, endpoint, token }: Repo,
  commit: string,
  name: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Response> {
  const url = `${endpoint}/${id}/resolve/${commit}/${encodeURIComponent(name)}`;
  const response = await fetch(url, {
    headers: { ...headers, 'Accept-Encoding': 'identity', ...(token && { Authorization: `Bearer ${token}` }) },
    signal,
  });
  const refusal = refusalOf(`${id}/${name}`, response.status);
  if (!refusal) return response;
  await response.body?.cancel();
  throw refusal;
}

/** What is wrong with a request that no other attempt can answer otherwise. */
function refusalOf(what: string, status: number): InputError | undefined {
  if (status === 401 || status === 403) {
    return new InputError(
      `${what}: access refused (${status}): the name is wrong, or it is private or gated; set HF_TOKEN to a token that may read it`,
    );
  }
  return status === 404
    ? new InputError(`${what}: not found on the hub (404); check the name and the revision`)
    : undefined;
}

/** Errors of the hub's library as ours. */
async function asTyped<T>(
  { id, hub, endpoint }: Repo,
  signal: AbortSignal | undefined,
  task: () => Promise<T>,
): Promise<T> {
  try {
    return await task();
  } catch (cause) {
    if (signal?.aborted) throw new AbortedError(`${id}: interrupted`);
    if (cause instanceof VaryclipError) throw cause;
    if (cause instanceof hub.HubApiError) {
      const refusal = refusalOf(id, cause.statusCode);
      if (refusal) throw refusal;
    }
    const reason =
      cause instanceof Error && cause.cause ? `${messageOf(cause)}: ${messageOf(cause.cause)}` : messageOf(cause);
    throw new DownloadError(`${id}: ${endpoint} cannot be asked: ${reason}`, { cause });
  }
}
