/** What the pictures of an index say, where a reading of them is known: `texts.json` beside the vectors. */
import { readFile, stat } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
import { InputError, messageOf } from '../../core/errors.js';
import { asObject } from '../../core/json.js';
import { indexWords, type WordIndex } from '../../search/words.js';
import { writeTextAtomic } from '../atomic.js';
import { surveyJournals } from '../bulk/journal.js';
import { stateFolder } from '../bulk/write-outputs.js';
import { directoryExists, fileExists } from '../files.js';
import { createPauses } from '../pauses.js';

const textsFile = 'texts.json';

/** Where the bulk reading in `job` keeps what it read of `root`. Throws InputError where there is none. */
export function expectReading(root: string, job: string): string {
  const state = join(job, stateFolder);
  if (directoryExists(state)) return state;
  throw new InputError(`${job}: there is no reading; make one: varyclip read ${root} --out ${job}`);
}

/**
 * Takes the texts that a bulk reading in `job` has of the pictures below `root` into the index in `dir`. Returns of how many
 * pictures. Throws InputError where there is no such reading.
 */
export function takeTexts(dir: string, root: string, job: string): number {
  const state = expectReading(root, job);
  const texts: Record<string, string> = {};
  surveyJournals(state, ({ documents, read }) => {
    for (const [key, { pages }] of documents) {
      const path = relative(resolve(root), key).split(sep).join('/');
      const text = pages.map((page) => (page && 'offset' in page ? read(page).text : '')).join('\n');
      if (!path.startsWith('../') && text.trim() !== '') texts[path] = text.trim();
    }
  });
  writeTextAtomic(join(dir, textsFile), `${JSON.stringify(texts)}\n`);
  return Object.keys(texts).length;
}

/** The texts of an index by path; undefined where it has none. */
export async function readTexts(dir: string): Promise<ReadonlyMap<string, string> | undefined> {
  const path = join(dir, textsFile);
  if (!fileExists(path)) return undefined;
  try {
    return new Map(Object.entries(asObject(JSON.parse(await readFile(path, 'utf8')), path) as Record<string, string>));
  } catch (cause) {
    throw new InputError(`${path}: is damaged: ${messageOf(cause)}; make it again with --texts`, { cause });
  }
}

/** The words of an index's texts, found anew when the texts are others; undefined where it has none. */
export function createTextIndex(dir: string): () => Promise<WordIndex | undefined> {
  let known: { readonly version: string; readonly words: Promise<WordIndex | undefined> } | undefined;
  return async () => {
    const { mtimeMs = 0, size = 0 } = (await stat(join(dir, textsFile)).catch(() => undefined)) ?? {};
    const version = `${mtimeMs} ${size}`;
    if (known?.version !== version) {
      const words = readTexts(dir).then((texts) => texts && indexWords(texts, createPauses()));
      known = { version, words };
      // One that fails is tried again.
      words.catch(() => {
        known = undefined;
      });
    }
    return known.words;
  };
}
