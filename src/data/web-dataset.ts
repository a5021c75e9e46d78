/** WebDataset: samples as neighbouring files of a tar archive that share a key (github.com/webdataset/webdataset). */
import { InputError, messageOf } from '../core/errors.js';
import { isObject } from '../core/json.js';
import type { TarFile } from './tar.js';

/** A picture that is not a file of its own, and its texts. */
export interface StreamedPair {
  readonly where: string;
  readonly image: Uint8Array;
  readonly texts: readonly string[];
  readonly label: string;
}

const imageEndings = ['jpg', 'jpeg', 'png', 'webp'];

/** The key is the path up to the first dot of its last part; what follows is the ending. */
function splitName(name: string): readonly [key: string, ending: string] {
  const slash = name.lastIndexOf('/') + 1;
  const dot = name.indexOf('.', slash);
  return dot < 0 ? [name, ''] : [name.slice(0, dot), name.slice(dot + 1).toLowerCase()];
}

interface Group {
  readonly key: string;
  readonly files: Map<string, Uint8Array>;
}

/** Neighbouring files with one key. Throws InputError where a key or an ending comes twice. */
async function* groupFiles(files: AsyncIterable<TarFile>, where: string): AsyncGenerator<Group> {
  const seen = new Set<string>();
  let group: Group | undefined;
  for await (const { name, bytes } of files) {
    const [key, ending] = splitName(name);
    if (group?.key !== key) {
      if (group) yield group;
      if (seen.has(key))
        throw new InputError(`${where}: the key ${key} comes twice; files of a sample must be neighbours`);
      seen.add(key);
      group = { key, files: new Map() };
    }
    if (group.files.has(ending)) throw new InputError(`${where}: ${name}: comes twice`);
    group.files.set(ending, bytes);
  }
  if (group) yield group;
}

/**
 * The pairs of a shard: an image (jpg, jpeg, png, webp) and a text (txt, or json with `text` or `caption`). Throws InputError
 * for a sample that lacks either, naming what it has.
 */
export async function* readWebDataset(files: AsyncIterable<TarFile>, where: string): AsyncGenerator<StreamedPair> {
  for await (const { key, files: parts } of groupFiles(files, where)) {
    const at = `${where}: ${key}`;
    const image = imageEndings.map((ending) => parts.get(ending)).find(Boolean);
    const texts = textsOf(parts, at);
    if (!image || !texts) {
      throw new InputError(
        `${at}: has no ${image ? 'text (txt, or json with "text" or "caption")' : `image (${imageEndings.join(', ')})`}; it has ${[...parts.keys()].join(', ')}`,
      );
    }
    yield { where: at, image, ...texts };
  }
}

function textsOf(parts: Group['files'], at: string): Pick<StreamedPair, 'texts' | 'label'> | undefined {
  const plain = parts.get('txt');
  const json = parts.get('json');
  const fields = json === undefined ? {} : jsonFields(json, at);
  const { label } = fields;
  const given = plain === undefined ? (fields['text'] ?? fields['caption']) : decode(plain, at).trim();
  const texts: readonly unknown[] = Array.isArray(given) ? given : given === undefined ? [] : [given];
  if (texts.length === 0) return undefined;
  if (!texts.every((text) => typeof text === 'string' && text !== '')) {
    throw new InputError(`${at}: expected texts, got ${JSON.stringify(given)?.slice(0, 60)}`);
  }
  return { texts: texts as string[], label: typeof label === 'string' ? label : (texts[0] as string) };
}

function jsonFields(bytes: Uint8Array, at: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(decode(bytes, at));
    return isObject(value) ? value : {};
  } catch (cause) {
    throw new InputError(`${at}.json: is not JSON: ${messageOf(cause)}`, { cause });
  }
}

function decode(bytes: Uint8Array, at: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new InputError(`${at}: its text is not UTF-8`, { cause });
  }
}

/** `train-{000..011}.tar` and `{a,b}.tar` written out, as shells do it: numbers keep their leading zeros. */
export function expandBraces(pattern: string): string[] {
  const open = pattern.lastIndexOf('{');
  if (open < 0) return [pattern];
  const close = pattern.indexOf('}', open);
  if (close < 0) throw new InputError(`${pattern}: a brace is not closed`);
  const inner = pattern.slice(open + 1, close);
  const range = /^(\d+)\.\.(\d+)$/.exec(inner);
  const choices = range ? numbersBetween(range[1], range[2]) : inner.split(',');
  return choices.flatMap((choice) => expandBraces(pattern.slice(0, open) + choice + pattern.slice(close + 1)));
}

function numbersBetween(from: string, to: string): string[] {
  const [first, last] = [Number(from), Number(to)];
  if (last < first || last - first > 1e6)
    throw new InputError(`{${from}..${to}}: expected a rising range of at most a million`);
  return Array.from({ length: last - first + 1 }, (_, i) => String(first + i).padStart(from.length, '0'));
}
