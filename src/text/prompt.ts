import { InputError } from '../core/errors.js';
import { encodeConversationPrompt } from './conversation.js';
import { expectImages, type ImageTokens, imageBlockIds, imagePlaceholder, splitAtImages } from './image-tokens.js';
import { trimEnd, trimStart } from './sections.js';
import type { Tokenizer } from './tokenizer.js';

interface Template {
  /** Text before and after what the user sends. */
  readonly before: string;
  readonly after: string;
}

/** The prompts of Vary's demos. Their checkpoints were trained without whitespace next to an image, and are asked so. */
const released: Readonly<Record<'plain' | 'vicuna', Template>> = {
  /** run_opt.py: the image alone. */
  plain: { before: '', after: '' },
  /** run_opt_with_text.py: conversation.py's `v1`. */
  vicuna: {
    before:
      'A chat between a curious user and an artificial intelligence assistant. ' +
      "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: ",
    after: ' ASSISTANT:',
  },
};

/**
 * 'plain', 'vicuna': as the released checkpoints were asked. 'conversation': as `encodeConversation` trains, the answer follows
 * the newline of the human turn.
 */
export type PromptTemplate = 'plain' | 'vicuna' | 'conversation';

export interface ReadPromptOptions {
  /** An instruction; plain text, where `<image>` gives an image's place. Without one the images stand before it. Default ''. */
  readonly text?: string;
  /** Number of images. Default 1. */
  readonly images?: number;
  readonly template?: PromptTemplate;
  /** As in `encodeConversation`, for template 'conversation'. */
  readonly turnSignal?: string;
}

/** The prompt for reading an image: ids that the answer follows. Throws InputError where images and places differ in number. */
export function readPrompt(
  tokenizer: Tokenizer,
  imageTokens: ImageTokens,
  { text = '', images = 1, template = 'plain', turnSignal = '' }: ReadPromptOptions = {},
): number[] {
  const value = withPlaces(text, images, imageTokens);
  if (template === 'conversation') {
    return encodeConversationPrompt(tokenizer, imageTokens, [{ from: 'human', value }], {
      turnSignal,
      where: 'prompt',
    });
  }
  if (!Object.hasOwn(released, template)) {
    throw new InputError(`prompt: template ${JSON.stringify(template)}, expected plain, vicuna or conversation`);
  }
  if (turnSignal !== '') throw new InputError("prompt: turnSignal goes with template 'conversation' only");
  const { before, after } = released[template];
  const texts = stripAtImages(splitAtImages(before + value + after, imageTokens));
  const block = imageBlockIds(imageTokens);
  const parts = texts.map((part) => tokenizer.encode(part, { addSpecialTokens: false, literal: true }));
  return [...tokenizer.template.before, ...parts.flatMap((ids, i) => (i === 0 ? ids : [...block, ...ids]))];
}

function withPlaces(text: string, images: number, imageTokens: ImageTokens): string {
  if (!Number.isInteger(images) || images < 0) {
    throw new InputError(`prompt: images must be a whole number, got ${images}`);
  }
  const places = splitAtImages(text, imageTokens).length - 1;
  if (places > 0 || images === 0) {
    expectImages(places, images, 'prompt');
    return text;
  }
  return [imagePlaceholder.repeat(images), text].filter((part) => part !== '').join('\n');
}

/** Every text without the whitespace next to an image, as Vary's slow tokenizer has it. */
function stripAtImages(texts: readonly string[]): string[] {
  const last = texts.length - 1;
  return texts.map((text, i) => {
    const left = i > 0 ? trimStart(text, true) : text;
    return i < last ? trimEnd(left, true) : left;
  });
}
