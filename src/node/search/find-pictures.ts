import { readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { InputError } from '../../core/errors.js';
import { lookAt, reasonOf } from '../place.js';

/** A picture file of a folder. */
export interface FoundPicture {
  /** Within the folder, with forward slashes. */
  readonly path: string;
  readonly size: number;
  /** In milliseconds since 1970, whole. */
  readonly modified: number;
  /** Of a folder that cannot be looked into: why. It stands here for whatever is in it. */
  readonly problem?: string;
}

const endings = new Set(['.png', '.jpg', '.jpeg', '.webp', '.gif', '.tif', '.tiff', '.bmp']);

export const isPictureName = (path: string): boolean => endings.has(extname(path).toLowerCase());

/**
 * The pictures under a folder by their endings, by path. Links to files are followed, links to folders are not. A folder
 * below that cannot be read is found as a problem; where the folder itself cannot, InputError is thrown.
 */
export async function findPictures(root: string): Promise<FoundPicture[]> {
  const found: FoundPicture[] = [];
  const visit = async (below: string): Promise<void> => {
    const folder = join(root, below);
    const entries = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
      const reason = reasonOf(cause, folder);
      if (below === '') throw new InputError(`${root}: expected a folder of pictures: ${reason}`, { cause });
      found.push({ path: below, size: 0, modified: 0, problem: `${folder}: cannot be read: ${reason}` });
      return [];
    });
    for (const entry of entries) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      if (entry.isDirectory()) await visit(path);
      else if (isPictureName(entry.name)) found.push(...pictureAt(root, path));
    }
  };
  await visit('');
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Nothing for a link to a folder. What else is no file, or cannot be asked, stands here with size 0, and reading it says why. */
function pictureAt(root: string, path: string): FoundPicture[] {
  const place = lookAt(join(root, path));
  if (place.kind === 'directory') return [];
  if (place.kind !== 'file') return [{ path, size: 0, modified: 0 }];
  return [{ path, size: place.facts.size, modified: Math.trunc(place.facts.mtimeMs) }];
}
