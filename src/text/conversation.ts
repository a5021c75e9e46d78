import { InputError } from '../core/errors.js';
import type { LabelledIds } from './collate.js';
import { type ImageTokens, imageBlockIds, splitAtImages } from './image-tokens.js';
import {
  type ConversationSample,
  expectMessages,
  type Message,
  type Roles,
  speakerOf,
  withImagePlaces,
} from './messages.js';
import { type Assembled, assemble, type Piece } from './pieces.js';
import { encodeReferenceConversation } from './reference-conversation.js';
import { expectSpecial, type Tokenizer } from './tokenizer.js';

export interface ConversationOptions {
  /**
   * 'answers': learn the gpt turns with their newline, and the final `</s>`. 'reference': exactly what Vary's caption_opt.py
   * does, see reference-conversation.ts. Default 'answers'.
   */
  readonly labelMask?: 'answers' | 'reference';
  /** Put before every turn and not learned: Vary's docstring promises '### ', its code adds nothing. Default ''. */
  readonly turnSignal?: string;
  /** The most ids, special tokens included. A longer conversation is cut on the right, never in an image block. */
  readonly maxLength?: number | undefined;
  /** Further names of speakers, in lower case. Known in any case: human, user, gpt, assistant. */
  readonly roles?: Roles;
  /** What messages of errors call this sample. Default 'conversation'. */
  readonly where?: string;
}

export interface EncodedConversation extends LabelledIds {
  readonly inputIds: number[];
  readonly labels: number[];
  /** Whether `maxLength` cut something off. */
  readonly truncated: boolean;
}

/**
 * The token processor: every value + '\n', joined, + `</s>`, and its labels. Throws InputError for unknown speakers, images
 * without a place, and an image that does not fit `maxLength`.
 */
export function encodeConversation(
  tokenizer: Tokenizer,
  images: ImageTokens,
  sample: ConversationSample,
  options: ConversationOptions = {},
): EncodedConversation {
  const { labelMask = 'answers', turnSignal = '', maxLength, roles = {}, where = 'conversation' } = options;
  if (maxLength !== undefined && !(Number.isInteger(maxLength) && maxLength > 0)) {
    throw new InputError(`${where}: maxLength must be a positive integer, got ${maxLength}`);
  }
  if (labelMask === 'reference') {
    if (turnSignal !== '')
      throw new InputError(`${where}: labelMask 'reference' has no turnSignal; leave one of them out`);
    return encodeReferenceConversation(tokenizer, images, sample, { maxLength, where });
  }
  const messages = withImagePlaces(sample, images, where, roles);
  const end: Piece = { ids: [expectSpecial(tokenizer.special, 'eos')], part: 'answer' };
  const pieces = [...piecesOf(messages, tokenizer, images, options), end];
  return cutRight(assemble(pieces, tokenizer, where), maxLength, where);
}

/** The ids that gpt's next turn follows: a conversation as above without the final `</s>`. */
export function encodeConversationPrompt(
  tokenizer: Tokenizer,
  images: ImageTokens,
  messages: readonly Message[],
  options: Pick<ConversationOptions, 'turnSignal' | 'roles' | 'where'> = {},
): number[] {
  const { turnSignal = '', where = 'conversation' } = options;
  const turns = piecesOf(expectMessages(messages, where), tokenizer, images, options);
  // The signal's last space belongs to the token of the answer's first word.
  const signal: Piece = { text: turnSignal.trimEnd(), part: 'signal' };
  return assemble([...turns, signal], tokenizer, where).inputIds;
}

function piecesOf(
  messages: readonly Message[],
  tokenizer: Tokenizer,
  images: ImageTokens,
  { turnSignal = '', roles = {}, where = 'conversation' }: ConversationOptions,
): Piece[] {
  const start: Piece = { ids: tokenizer.template.before, part: 'signal' };
  const block: Piece = { ids: imageBlockIds(images), part: 'signal', isImage: true };
  const turns = messages.flatMap((message, i): Piece[] => {
    const isHuman = speakerOf(message, i, where, roles) === 'human';
    const texts = splitAtImages(`${message.value}\n`, images);
    const pieces = texts.map((text): Piece => ({ text, part: isHuman ? 'human' : 'answer' }));
    const signal: Piece = { text: turnSignal, part: isHuman ? 'human' : 'signal' };
    return [signal, ...pieces.flatMap((piece, j) => (j === 0 ? [piece] : [block, piece]))];
  });
  return [start, ...turns];
}

function cutRight(
  { inputIds, labels, blocks }: Assembled,
  maxLength: number | undefined,
  where: string,
): EncodedConversation {
  if (maxLength === undefined || inputIds.length <= maxLength) return { inputIds, labels, truncated: false };
  const cut = blocks.find(([, end]) => end > maxLength);
  if (cut !== undefined) {
    const place = `an image takes tokens ${cut[0]} to ${cut[1] - 1}`;
    throw new InputError(
      `${where}: ${place}, maxLength is ${maxLength}; raise it or shorten the text before the image`,
    );
  }
  return { inputIds: inputIds.slice(0, maxLength), labels: labels.slice(0, maxLength), truncated: true };
}
