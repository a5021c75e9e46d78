/** SigLIP's tokenizer (transformers SiglipTokenizer): text without case and punctuation, in SentencePiece's unigram pieces. */
import { InputError } from '../core/errors.js';
import { createUtf8Decoder, joinBytes, utf8Bytes } from './byte-level.js';
import { asObject, fileError, optionalList, optionalObject } from './json.js';
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
  // SentencePiece's nmt_nfkc: compatibility forms, and control characters away.
  const plain = folded.normalize('NFKC').replace(/(?!\p{White_Space})\p{Cc}/gu, '');
  return plain.replace(/[\p{White_Space}\u200b-\u200f\u2581\ufeff\ufffd]+/gu, ' ').trim();
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
  const special = { bos: undefined, eos, pad: eos, unk: model.unknownId };
  const template = { before: [], after: [eos] };
  const isSpecial = (id: number) => id === eos || id === model.unknownId;
  const tokenBytes = (id: number) => utf8Bytes((model.pieces[id]?.[0] ?? '').replaceAll(space, ' '));
  return {
    size: model.pieces.length,
    special,
    template,
    encode: (text, options = {}) => {
      if (typeof text !== 'string') throw new InputError(`tokenizer: expected a string to encode, got ${typeof text}`);
      const plain = canonicalText(text, lowerCase).replaceAll(' ', space);
      return fitIds(encodeText(space + plain), template, options);
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

function modelOf({ tokenizerJson, spieceModel }: SiglipTokenizerFiles): UnigramModel | undefined {
  if (spieceModel) {
    const { pieces, unknownId, control } = readSentencePiece(spieceModel);
    return createUnigram(pieces, unknownId, (id) => control.has(id), 'spiece.model');
  }
  if (tokenizerJson === undefined) return undefined;
  const file = 'tokenizer.json: model';
  const model = asObject(asObject(tokenizerJson, 'tokenizer.json')['model'], file);
  if (model['type'] !== 'Unigram') return undefined;
  const pieces = optionalList(model['vocab'], `${file}.vocab`) as readonly Piece[];
  if (!pieces.every(Array.isArray)) throw fileError(`${file}.vocab`, 'expected pairs of a piece and its score');
  const added = optionalList(asObject(tokenizerJson, 'tokenizer.json')['added_tokens'], 'tokenizer.json: added_tokens');
  const control = new Set(added.map((entry) => asObject(entry, 'tokenizer.json: added_tokens')['id']));
  return createUnigram(pieces, model['unk_id'] as number, (id) => control.has(id), file);
}
