import { InputError } from '../core/errors.js';
import { ignoreIndex } from '../core/labels.js';
import { type ConversationOptions, encodeConversation } from '../text/conversation.js';
import { type ImageTokens, imagePlaceholder, splitAtImages } from '../text/image-tokens.js';
import { expectMessages, isBareList, type Message, speakerOf } from '../text/messages.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { ConversationRecord } from './conversations.js';

export interface CheckOptions extends Pick<ConversationOptions, 'roles' | 'turnSignal'> {
  /** Without one, lengths are not known and not checked. */
  readonly tokenizer?: Tokenizer;
  readonly imageTokens?: ImageTokens;
  /** The most ids a sample may have. */
  readonly maxLength?: number | undefined;
}

/** What an image block looks like where no checkpoint says it: Vary's. */
const defaultBlock = { length: 256, useStartEnd: true };

/** What is wrong with a record, but for its pictures: one text a problem. */
export function checkRecord(record: ConversationRecord, options: CheckOptions = {}): string[] {
  const { tokenizer, imageTokens, roles = {} } = options;
  const messages = attempt(() => expectMessages(record.sample, 'conversations'));
  if (typeof messages === 'string') return [messages];
  const problems = messages.flatMap((message, i) => {
    const speaker = attempt(() => speakerOf(message, i, 'role', roles));
    return speaker === 'human' || speaker === 'gpt' ? [] : [speaker];
  });
  if (problems.length > 0) return problems;
  const places = checkPlaces(record, messages, imageTokens ?? defaultBlock);
  if (places !== undefined) problems.push(places);
  const speaks = messages.some((message, i) => speakerOf(message, i, 'role', roles) === 'gpt' && message.value !== '');
  if (!speaks) problems.push('every label is masked: gpt says nothing');
  if (problems.length === 0 && tokenizer && imageTokens) {
    problems.push(...checkLength(record, tokenizer, imageTokens, options));
  }
  return problems;
}

/** A picture must have its place said, though training would put it first. */
function checkPlaces(
  { sample, images }: ConversationRecord,
  messages: readonly Message[],
  block: Pick<ImageTokens, 'length' | 'useStartEnd'>,
): string | undefined {
  const places = messages.reduce((sum, { value }) => sum + splitAtImages(value, block).length - 1, 0);
  if (places === images.length) return undefined;
  if (isBareList(sample) || images.length === 0) return `${places} ${imagePlaceholder} and no image`;
  if (places === 0) return `no ${imagePlaceholder} for ${images.length} image(s)`;
  return `${places} ${imagePlaceholder} for ${images.length} image(s)`;
}

function checkLength(
  { sample }: ConversationRecord,
  tokenizer: Tokenizer,
  imageTokens: ImageTokens,
  { maxLength, ...options }: CheckOptions,
): string[] {
  const encode = (limit: number | undefined) =>
    attempt(() =>
      encodeConversation(tokenizer, imageTokens, sample, { ...options, maxLength: limit, where: 'sample' }),
    );
  const whole = encode(undefined);
  if (typeof whole === 'string') return [whole];
  const { length } = whole.inputIds;
  if (maxLength === undefined || length <= maxLength) return [];
  const cut = encode(maxLength);
  const problems = [`too long: ${length} tokens, at most ${maxLength} are kept`];
  if (typeof cut === 'string') return [...problems, cut];
  const left = cut.labels.some((label) => label !== ignoreIndex);
  return left ? problems : [...problems, 'every label is masked: the answers are past what is kept'];
}

/** A value, or the message of the InputError that it threw. */
function attempt<T>(make: () => T): T | string {
  try {
    return make();
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
}
