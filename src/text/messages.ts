import { InputError } from '../core/errors.js';
import { expectImages, type ImageTokens, imagePlaceholder, splitAtImages } from './image-tokens.js';

/** One turn, as LLaVA's data writes it. */
export interface Message {
  readonly from: string;
  readonly value: string;
}

/** An item of a conversation file: a bare list, or an object whose `image` is one picture or a list of them. */
export type ConversationSample =
  | readonly Message[]
  | { readonly conversations: readonly Message[]; readonly image?: unknown };

export type Speaker = 'human' | 'gpt';

/** Further names of speakers, in lower case. */
export type Roles = Readonly<Record<string, Speaker>>;

const knownRoles: Roles = { human: 'human', user: 'human', gpt: 'gpt', assistant: 'gpt' };

/** Who speaks, in any case. Throws InputError for a name that is neither known nor in `roles`. */
export function speakerOf(message: Message, i: number, where: string, roles: Roles): Speaker {
  const name = message.from.toLowerCase();
  const owner = [roles, knownRoles].find((names) => Object.hasOwn(names, name));
  if (owner !== undefined) return owner[name];
  const from = JSON.stringify(message.from);
  throw new InputError(
    `${where}: message ${i} is from ${from}, expected human or gpt; name other speakers in \`roles\``,
  );
}

/** The messages of a sample, or InputError where they are not { from, value } texts. */
export function expectMessages(sample: ConversationSample, where: string): readonly Message[] {
  const messages: unknown = isBareList(sample) ? sample : sample?.conversations;
  if (!Array.isArray(messages) || messages.length === 0) {
    const got = JSON.stringify(messages);
    throw new InputError(`${where}: expected a list of messages { from, value } with at least one, got ${got}`);
  }
  messages.forEach((message: Partial<Message> | null, i) => {
    if (typeof message?.from === 'string' && typeof message.value === 'string') return;
    throw new InputError(`${where}: message ${i} needs the texts "from" and "value", got ${JSON.stringify(message)}`);
  });
  return messages as readonly Message[];
}

/** Whether a sample is a list of messages without a word about images. */
export function isBareList(sample: ConversationSample): sample is readonly Message[] {
  return Array.isArray(sample);
}

/**
 * The messages with a place for every image. Where no turn has one, the images stand before the first turn, as in Vary, which
 * also throws that turn's text away: here it stays.
 */
export function withImagePlaces(
  sample: ConversationSample,
  imageTokens: ImageTokens,
  where: string,
  roles: Roles,
): readonly Message[] {
  const messages = expectMessages(sample, where);
  if (isBareList(sample)) return messages;
  const images = countImages(sample.image);
  const places = messages.reduce((sum, { value }) => sum + splitAtImages(value, imageTokens).length - 1, 0);
  if (places > 0 || images === 0) {
    expectImages(places, images, where);
    return messages;
  }
  const [first, ...rest] = messages;
  if (speakerOf(first, 0, where, roles) === 'gpt') {
    throw new InputError(
      `${where}: no turn has ${imagePlaceholder} and gpt speaks first; write it where the image belongs`,
    );
  }
  const texts = [imagePlaceholder.repeat(images), first.value].filter((text) => text !== '');
  return [{ from: first.from, value: texts.join('\n') }, ...rest];
}

function countImages(image: unknown): number {
  if (image === undefined || image === null) return 0;
  return Array.isArray(image) ? image.length : 1;
}
