import { linkSync, lstatSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { InputError } from '../../core/errors.js';
import { writeTextAtomic } from '../atomic.js';
import { fileExists } from '../files.js';
import { makeDirectory } from '../place.js';
import { temporaryName } from '../process-identity.js';

/** The hub's default branch. */
export const defaultRevision = 'main';

const part = '[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?';
const idPattern = new RegExp(`^${part}/${part}$`);
const revisionPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]*(?:\/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$/;
const commitPattern = /^[0-9a-f]{40}$/;

/** Whether a name could be a hub's `org/name`, which no file name of another system can hide in. */
export const isModelId = (name: string): boolean => idPattern.test(name) && !/--|\.\./.test(name);

/** Throws InputError unless `id` is `org/name`. */
function expectModelId(id: string): void {
  if (!isModelId(id)) throw new InputError(`${id}: expected a model's name on the hub, org/name`);
}

/** Throws InputError for what cannot be a branch, tag or commit. */
export function expectRevision(revision: string): void {
  if (revisionPattern.test(revision) && !revision.includes('..') && revision.length <= 200) return;
  throw new InputError(`revision: expected a branch, a tag or a commit, got ${JSON.stringify(revision)}`);
}

export const isCommit = (revision: string): boolean => commitPattern.test(revision);

/** One model's part of the cache, in the layout of huggingface_hub: `blobs`, `refs`, `snapshots`. */
export interface RepoCache {
  readonly blobs: string;
  snapshot(commit: string): string;
  /** The commit that a revision stood for when it was last pulled. */
  commitOf(revision: string): string | undefined;
  setRef(revision: string, commit: string): void;
}

/** The place of a model in the cache. Throws InputError for a name or, when asked, a revision that is not one. */
export function repoCache(cacheDir: string, id: string): RepoCache {
  expectModelId(id);
  const root = join(cacheDir, `models--${id.replace('/', '--')}`);
  const refOf = (revision: string) => {
    expectRevision(revision);
    return join(root, 'refs', ...revision.split('/'));
  };
  return {
    blobs: join(root, 'blobs'),
    snapshot: (commit) => join(root, 'snapshots', commit),
    commitOf: (revision) => {
      const path = refOf(revision);
      if (isCommit(revision)) return revision;
      const commit = fileExists(path) ? readFileSync(path, 'utf8').trim() : '';
      return isCommit(commit) ? commit : undefined;
    },
    setRef: (revision, commit) => {
      const path = refOf(revision);
      makeDirectory(dirname(path));
      writeTextAtomic(path, commit);
    },
  };
}

/** The directory of a model that was pulled, or undefined. */
export function findSnapshot(cacheDir: string, id: string, revision: string = defaultRevision): string | undefined {
  const cache = repoCache(cacheDir, id);
  const commit = cache.commitOf(revision);
  const dir = commit && cache.snapshot(commit);
  return dir && fileExists(join(dir, 'config.json')) ? dir : undefined;
}

/** Gives a blob its name in a snapshot: a relative link, or a second name where links are not allowed. */
export function linkBlob(blob: string, path: string): void {
  makeDirectory(dirname(path));
  const target = relative(dirname(path), blob);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isSymbolicLink() && readlinkSync(path) === target) return;
  const temporary = temporaryName(path);
  rmSync(temporary, { force: true });
  try {
    symlinkSync(target, temporary);
  } catch {
    // Windows without the right to make links.
    linkSync(blob, temporary);
  }
  renameSync(temporary, path);
}
