import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import { joinBytes } from '../core/bytes.js';
import { InputError, messageOf } from '../core/errors.js';
import { contentOf } from './added-tokens.js';
import { bytesOfEntry, createUtf8Decoder, utf8Bytes } from './byte-level.js';
import { foldText, wordEnd } from './clip-text.js';
import { fileError } from './json.js';
import { createSplitter, trimEnd, trimStart, type Whitespace } from './sections.js';
import { readTokenizerFiles, type TokenizerFiles, type TokenizerSpec } from './tokenizer-files.js';
import { quoted } from './vocabulary.js';

export interface EncodeOptions {
  /** Put the template's tokens around the text: for OPT `</s>` in front and nothing at the end. Default true. */
  readonly addSpecialTokens?: boolean;
  /** The most ids to return, special tokens included. A longer text is an InputError unless `truncate` is set. */
  readonly maxLength?: number | undefined;
  /** Cut the text's ids on the right to `maxLength`. Default false. */
  readonly truncate?: boolean;
  /** 'reference' strips whitespace round added tokens as the slow tokenizers of transformers 4.32.1 do. Default 'keep'. */
  readonly whitespace?: Whitespace;
  /** Added tokens spelled out in the text are plain text (for text from users). Default false. */
  readonly literal?: boolean;
}

export interface DecodeOptions {
  /** Leave special tokens out. Default false. */
  readonly skipSpecialTokens?: boolean;
  /** Remove the space before punctuation and contractions (`clean_up_tokenization_spaces`). It damages text; default false. */
  readonly cleanUpSpaces?: boolean;
  /** A space round every added token that is not in vocab.json, as slow tokenizers join them. Default false. */
  readonly spaceAddedTokens?: boolean;
}

export interface SpecialIds {
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly pad: number | undefined;
  readonly unk: number | undefined;
}

/** Text ↔ token ids. */
export interface Tokenizer {
  /** One more than the highest id: the rows an embedding table must have. */
  readonly size: number;
  readonly special: SpecialIds;
  /** The ids that `addSpecialTokens` puts before and after a text. */
  readonly template: { readonly before: readonly number[]; readonly after: readonly number[] };
  /** Throws InputError for a text longer than `maxLength`. Lone surrogates count as U+FFFD. */
  encode(text: string, options?: EncodeOptions): number[];
  /** Bytes that are not UTF-8 become U+FFFD; an id without a token (a hole, a padded embedding row) becomes nothing. */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  tokenToId(token: string): number | undefined;
  idToToken(id: number): string | undefined;
  /** The UTF-8 bytes of a token, which may be a part of a character. Not to be written to. */
  tokenBytes(id: number): Uint8Array;
  /** Whether `skipSpecialTokens` leaves this id out. */
  isSpecial(id: number): boolean;
}

const noBytes = new Uint8Array(0);

/**
 * A tokenizer from a checkpoint's files: byte-level BPE (GPT-2, OPT, CLIP) by @huggingface/tokenizers; added tokens, special tokens
 * and decoding are done here, where that library differs from Hugging Face's own. Throws InputError for bad files.
 */
export function createTokenizer(files: TokenizerFiles): Tokenizer {
  const spec = readTokenizerFiles(files);
  const library = createLibraryTokenizer(spec);
  const ids = new Map([...spec.vocabulary, ...spec.added.map(({ content, id }) => [content, id] as const)]);
  const tokens = new Map([...ids].map(([token, id]) => [id, token]));
  const addedIds = new Set(spec.added.map(({ id }) => id));
  const specialIds = new Set(spec.added.filter(({ special }) => special).map(({ id }) => id));
  const tokenBytes = createTokenBytes(tokens, addedIds, spec.wordEnds ? wordEnd : '');
  const template = templateOf(spec, library, ids);
  const split = createSplitter(spec.added);
  const encodePlain = createPlainEncoder(library, spec);
  const encodeText = (text: string, { whitespace = 'keep', literal = false }: EncodeOptions): number[] => {
    if (literal) return encodePlain(text);
    return split(text, whitespace).flatMap((part) => (typeof part === 'string' ? encodePlain(part) : [part.id]));
  };
  const segments = new Set(spec.added.filter(({ content }) => !spec.vocabulary.has(content)).map(({ id }) => id));
  const isSpecial = (id: number) => specialIds.has(id);
  return {
    size: 1 + [...tokens.keys()].reduce((highest, id) => Math.max(highest, id), -1),
    special: specialIdsOf(spec, ids),
    template,
    encode: (text, options = {}) => {
      if (typeof text !== 'string') throw new InputError(`tokenizer: expected a string to encode, got ${typeof text}`);
      return fitIds(encodeText(text, options), template, options);
    },
    decode: (given, options = {}) =>
      decodeIds(given, options, { tokenBytes, isSpecial, segments, trimmed: spec.wordEnds }),
    tokenToId: (token) => ids.get(token),
    idToToken: (id) => tokens.get(id),
    tokenBytes,
    isSpecial,
  };
}

function createLibraryTokenizer({ library, file }: TokenizerSpec): LibraryTokenizer {
  try {
    return new LibraryTokenizer(library, {});
  } catch (error) {
    throw fileError(file, `cannot be used: ${messageOf(error)}`, undefined, error);
  }
}

function createPlainEncoder(
  library: LibraryTokenizer,
  { prefixSpace, wordEnds }: TokenizerSpec,
): (text: string) => number[] {
  return (given) => {
    const text = wordEnds ? foldText(given) : given;
    if (text === '') return [];
    const prefixed = prefixSpace && !text.startsWith(' ') ? ` ${text}` : text;
    return library.encode(prefixed, { add_special_tokens: false }).ids;
  };
}

/** A token that closes a word ends with a space. */
function createTokenBytes(
  tokens: ReadonlyMap<number, string>,
  added: ReadonlySet<number>,
  wordEnd: string,
): (id: number) => Uint8Array {
  const entryBytes = (token: string) =>
    wordEnd !== '' && token.endsWith(wordEnd)
      ? joinBytes([bytesOfEntry(token.slice(0, -wordEnd.length)), utf8Bytes(' ')])
      : bytesOfEntry(token);
  const known = new Map<number, Uint8Array>();
  return (id) => {
    const token = tokens.get(id);
    if (token === undefined) return refuseNonIds(id);
    const bytes = known.get(id) ?? (added.has(id) ? utf8Bytes(token) : entryBytes(token));
    known.set(id, bytes);
    return bytes;
  };
}

function refuseNonIds(id: number): Uint8Array {
  if (Number.isInteger(id) && id >= 0) return noBytes;
  throw new InputError(`tokenizer: expected token ids (integers from 0), got ${String(id)}`);
}

function specialIdsOf({ declared }: TokenizerSpec, ids: ReadonlyMap<string, number>): SpecialIds {
  const find = (role: string) => {
    const token = declared.get(role);
    return token === undefined ? undefined : ids.get(contentOf(token, `tokenizer_config.json: ${role}`));
  };
  return { bos: find('bos_token'), eos: find('eos_token'), pad: find('pad_token'), unk: find('unk_token') };
}

/** Stands for a text's tokens; no vocabulary has it, since byte-level BPE spells the space as U+0120. */
const sentinel = ' ';

/**
 * `add_bos_token` and `add_eos_token` of tokenizer_config.json decide where one of them is set (OPT: `</s>` in front, nothing
 * at the end, whatever a converted tokenizer.json says); otherwise tokenizer.json's post-processor.
 */
function templateOf(
  spec: TokenizerSpec,
  library: LibraryTokenizer,
  ids: ReadonlyMap<string, number>,
): Tokenizer['template'] {
  const [bos, eos] = ['add_bos_token', 'add_eos_token'].map((key) => spec.config[key]);
  if (typeof bos === 'boolean' || typeof eos === 'boolean') {
    const special = specialIdsOf(spec, ids);
    const side = (wanted: unknown, name: 'bos' | 'eos') => (wanted === true ? [expectSpecial(special, name)] : []);
    return { before: side(bos, 'bos'), after: side(eos, 'eos') };
  }
  const tokens = library.post_processor?.post_process([sentinel], null, true).tokens ?? [sentinel];
  const toIds = (side: readonly string[]) => side.map((token) => expectToken(token, ids));
  const at = tokens.indexOf(sentinel);
  return { before: toIds(tokens.slice(0, at)), after: toIds(tokens.slice(at + 1)) };
}

function expectToken(token: string, ids: ReadonlyMap<string, number>): number {
  const id = ids.get(token);
  if (id !== undefined) return id;
  throw fileError('tokenizer.json', `post_processor adds ${quoted(token)}, which is not in the vocabulary`);
}

/** The id of a special token that the caller cannot do without, or InputError. */
export function expectSpecial(special: SpecialIds, name: keyof SpecialIds): number {
  const id = special[name];
  if (id !== undefined) return id;
  throw fileError('tokenizer_config.json', `no ${name}_token is declared`, `declare ${name}_token there`);
}

/** Ids cut to `maxLength`, with the special tokens round them. Throws InputError for a text that is too long. */
export function fitIds(
  ids: readonly number[],
  { before, after }: Tokenizer['template'],
  { addSpecialTokens = true, maxLength, truncate = false }: EncodeOptions,
): number[] {
  const specials = addSpecialTokens ? before.length + after.length : 0;
  const kept = maxLength === undefined ? ids : cutTo(ids, maxLength, specials, truncate);
  return addSpecialTokens ? [...before, ...kept, ...after] : [...kept];
}

function cutTo(ids: readonly number[], maxLength: number, specials: number, truncate: boolean): readonly number[] {
  if (!Number.isInteger(maxLength) || maxLength < Math.max(1, specials)) {
    throw new InputError(`tokenizer: maxLength must be an integer from ${Math.max(1, specials)}, got ${maxLength}`);
  }
  const room = maxLength - specials;
  if (ids.length <= room) return ids;
  if (truncate) return ids.slice(0, room);
  const length = ids.length + specials;
  throw new InputError(
    `tokenizer: the text is ${length} tokens long, maxLength is ${maxLength}; shorten it or set truncate`,
  );
}

interface DecodeTables {
  readonly tokenBytes: (id: number) => Uint8Array;
  readonly isSpecial: (id: number) => boolean;
  /** Ids of added tokens that are not in vocab.json. */
  readonly segments: ReadonlySet<number>;
  /** The space that closes the last word is no text. */
  readonly trimmed: boolean;
}

function decodeIds(
  ids: readonly number[],
  { skipSpecialTokens = false, cleanUpSpaces = false, spaceAddedTokens = false }: DecodeOptions,
  { tokenBytes, isSpecial, segments, trimmed }: DecodeTables,
): string {
  const kept = skipSpecialTokens ? ids.filter((id) => !isSpecial(id)) : ids;
  const decode = (run: readonly number[]) => createUtf8Decoder().decode(joinBytes(run.map(tokenBytes)));
  const joined = spaceAddedTokens ? segmentsOf(kept, segments).map(decode).join(' ') : decode(kept);
  const text = trimmed ? trimStart(trimEnd(joined, true), true) : joined;
  return cleanUpSpaces ? cleanUp(text) : text;
}

/** Runs of ordinary ids, and each added one alone (transformers 4.32.1 tokenization_utils.py, _decode). */
function segmentsOf(ids: readonly number[], added: ReadonlySet<number>): number[][] {
  const runs: number[][] = [];
  ids.forEach((id, i) => {
    const joins = i > 0 && !added.has(id) && !added.has(ids[i - 1]);
    if (joins) runs[runs.length - 1].push(id);
    else runs.push([id]);
  });
  return runs;
}

/** In this order (transformers tokenization_utils_base.py, clean_up_tokenization). */
const cleanUps: readonly (readonly [string, string])[] = [
  [' .', '.'],
  [' ?', '?'],
  [' !', '!'],
  [' ,', ','],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
];

function cleanUp(text: string): string {
  return cleanUps.reduce((cleaned, [from, to]) => cleaned.replaceAll(from, to), text);
}
