// What Vary's data/caption_opt.py does with a conversation, quirk by quirk, so that a run can be compared with its own.
import { ignoreIndex } from '../core/labels.js';
import { expandImages, type ImageTokens, imagePlaceholder } from './image-tokens.js';
import { type ConversationSample, expectMessages, isBareList, type Message } from './messages.js';
import { expectSpecial, type Tokenizer } from './tokenizer.js';

interface ReferenceOptions {
  readonly maxLength: number | undefined;
  readonly where: string;
}

interface ReferenceEncoding {
  readonly inputIds: number[];
  readonly labels: number[];
  readonly truncated: boolean;
}

/** _tokenize_fn writes this number, whatever the tokenizer's `</s>` is. */
const forcedLastId = 2;

/**
 * Ids and labels as Vary makes them: the first message of an object sample becomes the image, also where there is none; markers
 * in the text count as tokens; whitespace round them is lost; every text ends with id 2, also where it was cut.
 */
export function encodeReferenceConversation(
  tokenizer: Tokenizer,
  images: ImageTokens,
  sample: ConversationSample,
  { maxLength, where }: ReferenceOptions,
): ReferenceEncoding {
  const encode = (text: string) =>
    withForcedEnd(tokenizer.encode(text, { whitespace: 'reference', maxLength, truncate: true }));
  const messages = referenceMessages(sample, images, where);
  const text = `${messages.map(({ value }) => value).join('')}</s>`;
  const inputIds = encode(text);
  const padId = expectSpecial(tokenizer.special, 'pad');
  const lengths = messages.map(({ value }) => encode(value).filter((id) => id !== padId).length);
  const labels = maskTargets(inputIds, messages, lengths, encode('').length);
  const truncated = maxLength !== undefined && tokenizer.encode(text, { whitespace: 'reference' }).length > maxLength;
  return { inputIds, labels, truncated };
}

/** multimodal_processor, which a bare list skips, and the newline of _add_speaker_and_signal. */
function referenceMessages(sample: ConversationSample, images: ImageTokens, where: string): Message[] {
  const given = expectMessages(sample, where);
  const values = given.map(({ value }, i) => {
    if (isBareList(sample)) return value;
    return expandImages(i === 0 ? imagePlaceholder : value, images);
  });
  return given.map(({ from }, i) => ({ from, value: `${values[i]}\n` }));
}

function withForcedEnd(ids: readonly number[]): number[] {
  return [...ids.slice(0, -1), forcedLastId];
}

/**
 * _mask_targets: a human turn is masked from the running position to its own length, not to position + length, so that only the
 * first turn is masked exactly. Every length counts a `</s>` in front of its message.
 */
function maskTargets(
  inputIds: readonly number[],
  messages: readonly Message[],
  lengths: readonly number[],
  headerLength: number,
): number[] {
  const labels = inputIds.slice();
  labels.fill(ignoreIndex, 0, headerLength);
  let at = headerLength;
  messages.forEach(({ from }, i) => {
    if (from.toLowerCase() === 'human') labels.fill(ignoreIndex, at, Math.max(at, lengths[i]));
    at += lengths[i];
  });
  return labels;
}
