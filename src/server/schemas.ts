/** What requests look like: the same fields read them and are the OpenAPI document. */

import { InputError } from '../core/errors.js';
import {
  choiceField,
  countField,
  described,
  eitherField,
  type Field,
  flagField,
  indexField,
  listField,
  numberField,
  objectField,
  textField,
  withDefault,
} from '../core/fields.js';
import { isObject, type JsonObject } from '../core/json.js';
import { mostRetries } from '../infer/retries.js';
import { decodeDataUrl } from '../node/fetch-image.js';
import type { ServerLimits } from './limits.js';

/** May be left out; clients also write null for that. */
function given<T>(of: Field<T>): Field<T | undefined> {
  return {
    schema: { anyOf: [of.schema, { type: 'null' }] },
    required: false,
    read: (value, where) => (value === undefined || value === null ? undefined : of.read(value, where)),
  };
}

/** An object; fields that we do not know are left alone, as clients send what their other servers take. */
const open = <F extends Parameters<typeof objectField>[0]>(fields: F) => objectField(fields, { open: true });

/** The bytes of an image, or the URL of a host that may be allowed. */
export type ImageSource = Uint8Array | string;

/** An image: what stands in a data URL is decoded where the body is read. */
function imageField(maxBytes: number): Field<ImageSource> {
  const text = described('data:image/png;base64,… or the URL of a host that the server allows', textField);
  return {
    ...text,
    read: (value, where) => {
      // A form's file; JSON has none.
      if (value instanceof Uint8Array) return value;
      const url = text.read(value, where);
      return /^data:/i.test(url) ? decodeDataUrl(url, { maxBytes }) : url;
    },
  };
}

export interface TextPart {
  readonly type: 'text';
  readonly text: string;
}
export interface ImagePart {
  readonly type: 'image_url';
  readonly image_url: { readonly url: ImageSource };
}
export type ContentPart = TextPart | ImagePart;

const isText = (value: unknown) => typeof value === 'string';

/** Messages with at most so many of everything, and so many characters of text together. */
function messagesField({ maxInputs, maxPromptLength, maxImageBytes }: ServerLimits): Field<readonly ChatMessage[]> {
  const text = textUpTo(maxPromptLength);
  const url = imageField(maxImageBytes);
  // Some clients write the URL itself.
  const bare: Field<{ readonly url: ImageSource }> = {
    ...url,
    read: (value, where) => ({ url: url.read(value, where) }),
  };
  const textPart: Field<TextPart> = open({ type: choiceField(['text']), text });
  const imagePart: Field<ImagePart> = open({
    type: choiceField(['image_url']),
    image_url: eitherField(isText, bare, open({ url, detail: given(textField) })),
  });
  const isTextPart = (value: unknown) => isObject(value) && value['type'] === 'text';
  const part = eitherField<TextPart, ImagePart>(isTextPart, textPart, imagePart);
  const message = open({
    role: choiceField(['system', 'developer', 'user', 'assistant']),
    content: eitherField(isText, text, listField(part, { least: 1, most: maxInputs })),
  });
  const list = listField(message, { least: 1, most: maxInputs });
  return {
    ...list,
    read: (value, where) => {
      const messages = list.read(value, where);
      const texts = messages.flatMap(({ content }) =>
        typeof content === 'string' ? [content] : content.map((own) => (own.type === 'text' ? own.text : '')),
      );
      expectLength(texts.join('\n'), maxPromptLength, `${where}: all texts`);
      return messages;
    },
  };
}

export interface ChatMessage {
  readonly role: 'system' | 'developer' | 'user' | 'assistant';
  readonly content: string | readonly ContentPart[];
}

export interface ChatRequest {
  readonly model?: string;
  readonly messages: readonly ChatMessage[];
  readonly max_tokens?: number;
  readonly max_completion_tokens?: number;
  readonly temperature?: number;
  readonly top_p?: number;
  readonly seed?: number;
  readonly stop?: string | readonly string[];
  readonly n?: number;
  readonly stream?: boolean;
  readonly stream_options?: { readonly include_usage?: boolean };
  /** Ours: how often what was read badly is tried again. */
  readonly retries?: number;
}

export interface EmbeddingsRequest {
  readonly model?: string;
  readonly input?: string | readonly (string | { readonly text?: string; readonly image?: ImageSource })[];
  readonly messages?: readonly ChatMessage[];
  /** Left out: numbers. */
  readonly encoding_format?: 'float' | 'base64';
  readonly dimensions?: number;
  readonly truncate: boolean;
}

export interface ClassifyRequest {
  readonly model?: string;
  readonly image: ImageSource;
  readonly labels: readonly string[];
  readonly template?: string | readonly string[];
}

export interface SearchRequest {
  readonly text?: string | readonly string[];
  readonly image?: ImageSource;
  readonly minus?: string | readonly string[];
  readonly top: number;
  readonly where?: string;
}

export interface RequestFields {
  readonly chat: Field<ChatRequest>;
  readonly embeddings: Field<EmbeddingsRequest>;
  readonly classify: Field<ClassifyRequest>;
  readonly search: Field<SearchRequest>;
}

export type RequestOf<K extends keyof RequestFields> = RequestFields[K] extends Field<infer T> ? T : never;

/** The bodies of all routes that take JSON. */
export function requestFields(limits: ServerLimits): RequestFields {
  const { maxInputs, maxTokens, maxTextLength, maxImageBytes } = limits;
  const image = imageField(maxImageBytes);
  const shortText = textUpTo(maxTextLength);
  const tokens = numberField(1, maxTokens);
  const wholeTokens: Field<number> = {
    schema: { ...tokens.schema, type: 'integer' },
    required: true,
    read: (value, where) => countField.read(tokens.read(value, where), where),
  };
  const messages = messagesField(limits);
  const model = given(described('one of GET /v1/models; left out: the first that can', textField));
  const chat = open({
    model,
    messages,
    max_tokens: given(wholeTokens),
    max_completion_tokens: given(wholeTokens),
    temperature: given(numberField(0, 2)),
    top_p: given(numberField(0, 1)),
    seed: given(indexField),
    stop: given(
      described(
        'the text ends before the first of these; of a model that reads line by line, the text of the lines joined',
        eitherField(isText, shortText, listField(shortText, { most: 4 })),
      ),
    ),
    n: given(choiceOfOne),
    stream: given(flagField),
    stream_options: given(open({ include_usage: given(flagField) })),
    ...unsupported,
    retries: given(described('how often what was read badly is tried again; left out: 2', retriesField)),
  });
  const inputItem = open({ text: given(shortText), image: given(image) });
  const inputs = listField(eitherField(isText, shortText, inputItem), { least: 1, most: maxInputs });
  const embeddings = open({
    model,
    input: given(eitherField(isText, shortText, inputs)),
    messages: given(messages),
    encoding_format: given(choiceField(['float', 'base64'])),
    dimensions: given(countField),
    truncate: withDefault(flagField, false),
  });
  const classify = open({
    model,
    image,
    labels: listField(shortText, { least: 1, most: maxInputs }),
    template: given(eitherField(isText, shortText, listField(shortText, { least: 1, most: maxInputs }))),
  });
  const texts = given(eitherField(isText, shortText, listField(shortText, { least: 1, most: maxInputs })));
  const search = open({
    text: texts,
    image: given(image),
    minus: texts,
    top: withDefault(topField, 10),
    where: given(described('conditions, as in size>10000 and path~holiday/*', shortText)),
  });
  return { chat, embeddings, classify, search };
}

/** A text of so many characters at most: tokenizing takes time. */
function textUpTo(most: number): Field<string> {
  return {
    ...textField,
    schema: { ...textField.schema, maxLength: most },
    read: (value, where) => {
      const text = textField.read(value, where);
      expectLength(text, most, where);
      return text;
    },
  };
}

/** Throws InputError for a text that is longer than `most` characters. */
export function expectLength(text: string, most: number, where: string): void {
  if (text.length > most) throw new InputError(`${where}: expected at most ${most} characters, got ${text.length}`);
}

/** The only number of answers there is. */
const choiceOfOne: Field<number> = {
  schema: { const: 1 },
  required: true,
  read: (value, where) => {
    if (value === 1) return 1;
    throw new InputError(`${where}: there is one answer, no other number of them`);
  },
};
/** Takes only what changes nothing: who asks for more than that would take the answer for something it is not. */
function without(what: string, schema: JsonObject, isNothing: (value: unknown) => boolean): Field<undefined> {
  return {
    schema: { anyOf: [schema, { type: 'null' }] },
    required: false,
    read: (value, where) => {
      if (value === undefined || value === null || isNothing(value)) return undefined;
      throw new InputError(`${where}: ${what}`);
    },
  };
}
const isEmpty = (value: unknown) => Array.isArray(value) && value.length === 0;
const isOne =
  (...values: readonly unknown[]) =>
  (value: unknown) =>
    values.includes(value);
const emptyList: JsonObject = { type: 'array', maxItems: 0 };

/** What a chat of OpenAI's may ask for, and a reader has not. */
const unsupported = {
  logprobs: without('log probabilities are not given', { const: false }, isOne(false)),
  top_logprobs: without('log probabilities are not given', { const: 0 }, isOne(0)),
  tools: without('a reader calls no tools', emptyList, isEmpty),
  functions: without('a reader calls no functions', emptyList, isEmpty),
  tool_choice: without('a reader calls no tools', { enum: ['none', 'auto'] }, isOne('none', 'auto')),
  response_format: without(
    'answers are text, in no other format',
    { type: 'object', properties: { type: { const: 'text' } }, required: ['type'] },
    (value) => isObject(value) && value['type'] === 'text',
  ),
  modalities: without(
    'answers are text alone',
    { type: 'array', items: { const: 'text' } },
    (value) => Array.isArray(value) && value.every(isOne('text')),
  ),
  frequency_penalty: without('there is none but 0', { const: 0 }, isOne(0)),
  presence_penalty: without('there is none but 0', { const: 0 }, isOne(0)),
  logit_bias: without(
    'tokens have no bias',
    { type: 'object', maxProperties: 0 },
    (value) => isObject(value) && Object.keys(value).length === 0,
  ),
};

const retriesField: Field<number> = {
  schema: { type: 'integer', minimum: 0, maximum: mostRetries },
  required: true,
  read: (value, where) => indexField.read(numberField(0, mostRetries).read(value, where), where),
};
const topField: Field<number> = {
  schema: { type: 'integer', minimum: 1, maximum: 1000 },
  required: true,
  read: (value, where) => countField.read(numberField(1, 1000).read(value, where), where),
};
