import { InputError } from '../core/errors.js';
import { fileError } from './json.js';
import type { Piece } from './unigram.js';

/** What a `spiece.model` says: its pieces, and which of them no text becomes. */
export interface SentencePieceModel {
  readonly pieces: readonly Piece[];
  readonly unknownId: number;
  readonly control: ReadonlySet<number>;
  /** Bytes of characters that no piece has are pieces: `<0x00>` to `<0xFF>`. */
  readonly byteFallback: boolean;
}

const file = 'spiece.model';
/** Of a piece, in sentencepiece_model.proto. */
const [unknownType, controlType, unusedType] = [2, 3, 5];
const maxPieces = 2 ** 20;

interface Field {
  readonly number: number;
  /** Of a varint. */
  readonly value: number;
  readonly bytes: Uint8Array;
}

/** The fields of a protobuf message, one level deep. Throws InputError for a message that is cut off. */
function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  let at = 0;
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw fileError(file, 'is cut off or not a SentencePiece model');
    at += length;
    return bytes.subarray(at - length, at);
  };
  const varint = (): number => {
    let value = 0;
    // Ten bytes: a negative number has 64 bits, such as the id of a token that there is not.
    for (let shift = 0; shift < 70; shift += 7) {
      const [byte] = take(1);
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw fileError(file, 'has a number that does not end');
  };
  while (at < bytes.length) {
    const key = varint();
    const [number, type] = [Math.floor(key / 8), key % 8];
    if (type === 0) yield { number, value: varint(), bytes: new Uint8Array(0) };
    else if (type === 1) yield { number, value: 0, bytes: take(8) };
    else if (type === 2) yield { number, value: 0, bytes: take(varint()) };
    else if (type === 5) yield { number, value: 0, bytes: take(4) };
    else throw fileError(file, `has a field of type ${type}`);
  }
}

/** The pieces of a SentencePiece model file (sentencepiece_model.proto). Throws InputError unless it is a unigram model. */
export function readSentencePiece(bytes: Uint8Array): SentencePieceModel {
  const pieces: Piece[] = [];
  const control = new Set<number>();
  let unknownId = -1;
  let byteFallback = false;
  for (const field of fieldsOf(bytes)) {
    if (field.number === 2) byteFallback = readTrainer(field.bytes);
    if (field.number === 3) expectNormalizer(field.bytes);
    if (field.number !== 1) continue;
    if (pieces.length >= maxPieces) throw new InputError(`${file}: has more than ${maxPieces} pieces`);
    const { text, score, type } = readPiece(field.bytes);
    if (type === unknownType) unknownId = pieces.length;
    if (type === controlType || type === unusedType) control.add(pieces.length);
    pieces.push([text, score]);
  }
  return { pieces, unknownId, control, byteFallback };
}

function readPiece(bytes: Uint8Array): { readonly text: string; readonly score: number; readonly type: number } {
  let [text, score, type] = ['', 0, 1];
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) text = new TextDecoder().decode(field.bytes);
    else if (field.number === 2 && field.bytes.length === 4) {
      score = new DataView(field.bytes.buffer, field.bytes.byteOffset, 4).getFloat32(0, true);
    } else if (field.number === 3) type = field.value;
  }
  return { text, score, type };
}

/** Of `trainer_spec`: `model_type`, of which 1, the default, is unigram; whether there is `byte_fallback`. */
function readTrainer(trainer: Uint8Array): boolean {
  let byteFallback = false;
  for (const { number, value } of fieldsOf(trainer)) {
    if (number === 3 && value !== 1) throw fileError(file, `is a model of type ${value}, expected unigram`);
    if (number === 35) byteFallback = value !== 0;
  }
  return byteFallback;
}

/** `normalizer_spec.name`: all but this one bring text to compatibility forms, as `canonicalText` does. */
function expectNormalizer(normalizer: Uint8Array): void {
  for (const { number, bytes } of fieldsOf(normalizer)) {
    if (number !== 1 || new TextDecoder().decode(bytes) !== 'identity') continue;
    throw fileError(file, 'leaves text as it is (normalizer identity), expected nmt_nfkc or one like it');
  }
}
