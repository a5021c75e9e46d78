/** SigLIP's tokenizer (transformers SiglipTokenizer): text without case and punctuation, in SentencePiece's unigram pieces. */
import { joinBytes } from '../core/bytes.js';
import { InputError } from '../core/errors.js';
import { contentOf, type DeclaredToken } from './added-tokens.js';
import { createUtf8Decoder, utf8Bytes } from './byte-level.js';
import { asObject, fileError, type JsonObject, optionalList, optionalObject } from './json.js';
import { readSentencePiece } from './sentencepiece.js';
import { fitIds, type Tokenizer } from './tokenizer.js';
import { createUnigram, createUnigramEncoder, type Piece, type UnigramModel } from './unigram.js';

export interface SiglipTokenizerFiles {
  readonly tokenizerJson?: unknown;
  readonly tokenizerConfig?: unknown;
  /** `spiece.model`, where there is no tokenizer.json. */
  readonly spieceModel?: Uint8Array | undefined;
}

/** Stands for the space before a word. */
const space = '\u2581';
const end = '</s>';

/** Lower case, no ASCII punctuation, single spaces, none at the ends (big_vision, canonicalize_text). */
export function canonicalText(text: string, lowerCase = true): string {
  const folded = (lowerCase ? text.toLowerCase() : text).replace(/[!-/:-@[-`{-~]/g, '');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what Python's \\s has beside White_Space.
  const spaced = folded.replace(/[\p{White_Space}\u001c-\u001f]+/gu, ' ');
  // SentencePiece's nmt_nfkc: compatibility forms, some control characters away, some spaces that are no White_Space.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken away.
  const plain = spaced.normalize('NFKC').replace(/[\u0001-\u0008\u000e-\u001b\u007f\u008f\u009f]/g, '');
  return plain.replace(/[ \u200b\u200c\u200e\u200f\u2581\ufeff\ufffd]+/g, ' ').replace(/^ | $/g, '');
}

/** The tokenizer of a SigLIP checkpoint, or undefined for one of another kind (SigLIP 2). Throws InputError for bad files. */
export function createSiglipTokenizer(files: SiglipTokenizerFiles): Tokenizer | undefined {
  const model = modelOf(files);
  if (!model) return undefined;
  const config = optionalObject(files.tokenizerConfig, 'tokenizer_config.json');
  const lowerCase = config['do_lower_case'] !== false;
  const encodeText = createUnigramEncoder(model);
  const ids = new Map(model.pieces.map(([text], id) => [text, id]));
  const eos = ids.get(end);
  if (eos === undefined) throw fileError('tokenizer', `has no ${end}`);
  const pad = padIdOf(config, ids, files.tokenizerJson);
  const special = { bos: undefined, eos, pad, unk: model.unknownId };
  const template = { before: [], after: [eos] };
  const isSpecial = (id: number) => id === eos || id === pad || id === model.unknownId;
  const byteOf = new Map(model.bytes?.map((id, byte) => [id, Uint8Array.of(byte)]));
  const tokenBytes = (id: number) => byteOf.get(id) ?? utf8Bytes((model.pieces[id]?.[0] ?? '').replaceAll(space, ' '));
  return {
    size: model.pieces.length,
    special,
    template,
    encode: (text, options = {}) => {
      if (typeof text !== 'string') throw new InputError(`tokenizer: expected a string to encode, got ${typeof text}`);
      const plain = canonicalText(text, lowerCase).replaceAll(' ', space);
      return fitIds(plain === '' ? [] : encodeText(space + plain), template, options);
    },
    decode: (given, { skipSpecialTokens = false } = {}) => {
      const kept = skipSpecialTokens ? given.filter((id) => !isSpecial(id)) : given;
      return createUtf8Decoder()
        .decode(joinBytes(kept.map(tokenBytes)))
        .replace(/^ /, '');
    },
    tokenToId: (token) => ids.get(token),
    idToToken: (id) => model.pieces[id]?.[0],
    tokenBytes,
    isSpecial,
  };
}

/** What texts are filled up with: the `pad_token`, a piece or an added token, else the end. Throws InputError for one that is neither. */
function padIdOf(config: JsonObject, ids: ReadonlyMap<string, number>, tokenizerJson: unknown): number {
  const where = 'tokenizer_config.json: pad_token';
  const content = contentOf((config['pad_token'] ?? end) as DeclaredToken, where);
  const added = addedTokens(tokenizerJson).find((token) => token['content'] === content);
  const id = ids.get(content) ?? added?.['id'];
  if (typeof id === 'number') return id;
  throw fileError(where, `${JSON.stringify(content)} is no piece of the vocabulary and no added token`);
}

function addedTokens(tokenizerJson: unknown): readonly JsonObject[] {
  if (tokenizerJson === undefined) return [];
  const where = 'tokenizer.json: added_tokens';
  return optionalList(asObject(tokenizerJson, 'tokenizer.json')['added_tokens'], where).map((entry) =>
    asObject(entry, where),
  );
}

function modelOf({ tokenizerJson, spieceModel }: SiglipTokenizerFiles): UnigramModel | undefined {
  if (spieceModel) {
    return createUnigram(readSentencePiece(spieceModel), 'spiece.model');
  }
  if (tokenizerJson === undefined) return undefined;
  const file = 'tokenizer.json: model';
  const model = asObject(asObject(tokenizerJson, 'tokenizer.json')['model'], file);
  if (model['type'] !== 'Unigram') return undefined;
  const pieces = optionalList(model['vocab'], `${file}.vocab`) as readonly Piece[];
  if (!pieces.every(Array.isArray)) throw fileError(`${file}.vocab`, 'expected pairs of a piece and its score');
  const control = new Set(addedTokens(tokenizerJson).map(({ id }) => id));
  const [unknownId, byteFallback] = [model['unk_id'] as number, model['byte_fallback'] === true];
  return createUnigram({ pieces, unknownId, control, byteFallback }, file);
}
