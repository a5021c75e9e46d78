import { opendirSync } from 'node:fs';
import { join } from 'node:path';
import { wildcardMatcher } from '../../core/wildcard.js';

/** Whether a path names several files by a pattern. */
export const isPattern = (path: string): boolean => /[*?]/.test(path);

/** Paths that match a pattern with `*`, `?` and, for any number of folders, `**`; sorted. Names with a dot first must be asked for. */
export function expandPattern(pattern: string): string[] {
  const absolute = pattern.startsWith('/');
  const found = new Set<string>();
  const visit = (base: string, segments: readonly string[]): void => {
    const [segment, ...rest] = segments;
    if (segment === undefined) {
      found.add(base);
      return;
    }
    if (segment !== '**' && !isPattern(segment)) {
      visit(base === '' ? segment : join(base, segment), rest);
      return;
    }
    if (segment === '**') visit(base, rest);
    const matches = wildcardMatcher(segment);
    for (const { name, isFolder } of entriesOf(base === '' ? '.' : base)) {
      if (name.startsWith('.') && !segment.startsWith('.')) continue;
      const path = base === '' ? name : join(base, name);
      if (segment === '**') {
        if (isFolder) visit(path, segments);
      } else if (matches(name) && (rest.length === 0 || isFolder)) visit(path, rest);
    }
  };
  const segments = pattern.split('/').filter((segment) => segment !== '');
  // `**/**` is what `**` is, and each one would walk the tree once more for every folder.
  visit(
    absolute ? '/' : '',
    segments.filter((segment, i) => segment !== '**' || segments[i - 1] !== '**'),
  );
  return [...found].sort();
}

/** What is in a folder; nothing where it cannot be read. Links to folders are not followed. */
function entriesOf(folder: string): { readonly name: string; readonly isFolder: boolean }[] {
  try {
    const handle = opendirSync(folder);
    const entries: { name: string; isFolder: boolean }[] = [];
    try {
      for (let entry = handle.readSync(); entry; entry = handle.readSync()) {
        entries.push({ name: entry.name, isFolder: entry.isDirectory() });
      }
    } finally {
      handle.closeSync();
    }
    return entries;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}
