import { charOfByte } from './byte-level.js';
import { asObject, fileError, optionalList } from './json.js';

/** Above every published vocabulary; a larger id is a broken file, and would make tables of that size. */
const maxTokenId = 2 ** 24;

/** A token id from a file, or InputError. */
export function asTokenId(id: unknown, token: string, file: string): number {
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < maxTokenId) return id;
  throw fileError(file, `token ${JSON.stringify(token)} has id ${JSON.stringify(id)}, expected an integer from 0`);
}

/** vocab.json (or tokenizer.json's model.vocab): token → id, each id once. Ids may have holes. */
export function parseVocabulary(value: unknown, file: string): Map<string, number> {
  const vocabulary = new Map<string, number>();
  const owners = new Map<number, string>();
  for (const [token, id] of Object.entries(asObject(value, file))) {
    const tokenId = asTokenId(id, token, file);
    const owner = owners.get(tokenId);
    if (owner !== undefined) throw fileError(file, `id ${tokenId} is both ${quoted(owner)} and ${quoted(token)}`);
    owners.set(tokenId, token);
    vocabulary.set(token, tokenId);
  }
  if (vocabulary.size === 0) throw fileError(file, 'the vocabulary is empty');
  return vocabulary;
}

/**
 * The rules of merges.txt, in order. Only a first line `#version: …` is a comment: GPT-2's list has rules that begin with `#`.
 */
export function parseMergesTxt(text: unknown, file: string): string[] {
  if (typeof text !== 'string') throw fileError(file, `expected text, got ${typeof text}`);
  const lines = text.replace(/^\uFEFF/, '').split('\n');
  const rules = lines[0].startsWith('#version') ? lines.slice(1) : lines;
  return rules.map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line)).filter((line) => line !== '');
}

/** Merge rules in either form of tokenizer.json ("a b" or ["a", "b"]) as pairs whose tokens are all in the vocabulary. */
export function parseMerges(
  rules: unknown,
  vocabulary: ReadonlyMap<string, number>,
  file: string,
): (readonly [string, string])[] {
  return optionalList(rules, file).map((rule, i) => {
    const parts: unknown = typeof rule === 'string' ? rule.split(' ') : rule;
    if (!isPair(parts)) {
      throw fileError(file, `merge rule ${i + 1} is ${JSON.stringify(rule)}, expected two tokens and one space`);
    }
    const unknown = [...parts, parts.join('')].find((token) => !vocabulary.has(token));
    if (unknown === undefined) return parts;
    throw fileError(
      file,
      `merge rule ${i + 1} (${parts.join(' ')}) needs token ${quoted(unknown)}, not in the vocabulary`,
    );
  });
}

function isPair(parts: unknown): parts is readonly [string, string] {
  return Array.isArray(parts) && parts.length === 2 && parts.every((part) => typeof part === 'string' && part !== '');
}

/** The bytes for which a byte-level vocabulary has no token. */
export function missingBytes(vocabulary: ReadonlyMap<string, number>): number[] {
  return Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !vocabulary.has(charOfByte(byte)));
}

/** A token as it is shown in messages. */
export function quoted(token: string): string {
  return JSON.stringify(token);
}
