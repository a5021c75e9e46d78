import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { InputError, messageOf } from '../../core/errors.js';

/** A picture file of a folder. */
export interface FoundPicture {
  /** Within the folder, with forward slashes. */
  readonly path: string;
  readonly size: number;
  /** In milliseconds since 1970, whole. */
  readonly modified: number;
}

const endings = new Set(['.png', '.jpg', '.jpeg', '.webp', '.gif', '.tif', '.tiff', '.bmp']);

export const isPictureName = (path: string): boolean => endings.has(extname(path).toLowerCase());

/**
 * The pictures under a folder by their endings, by path. Links to files are followed, links to folders are not. Throws InputError
 * where the folder cannot be read.
 */
export async function findPictures(root: string): Promise<FoundPicture[]> {
  const found: FoundPicture[] = [];
  const visit = async (below: string): Promise<void> => {
    const entries = await readdir(join(root, below), { withFileTypes: true }).catch((cause: unknown) => {
      throw new InputError(`${join(root, below)}: expected a folder of pictures: ${messageOf(cause)}`, { cause });
    });
    for (const entry of entries) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      if (entry.isDirectory()) await visit(path);
      else if (isPictureName(entry.name)) found.push(...(await pictureAt(root, path)));
    }
  };
  await visit('');
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Nothing for what is no file; a link that leads nowhere stands here with size 0, and reading it says so. */
async function pictureAt(root: string, path: string): Promise<FoundPicture[]> {
  const facts = await stat(join(root, path)).catch(() => undefined);
  if (facts && !facts.isFile()) return [];
  return [{ path, size: facts?.size ?? 0, modified: Math.trunc(facts?.mtimeMs ?? 0) }];
}
