/** Reading over HTTP: as a chat with a picture in it, and as plain reading. */
import { randomUUID } from 'node:crypto';
import { InputError } from '../core/errors.js';
import { prepareSettings } from '../infer/prepare.js';
import type { ReadOptions, ReadResult } from '../infer/reading.js';
import type { NodeVaryModel } from '../node/load-model.js';
import { answerOf, errorBody } from './answers.js';
import { sendEvents } from './event-stream.js';
import type { ChatMessage, ChatRequest, ContentPart, ImageSource } from './schemas.js';
import { imageBytes, modelFor, type ServerState } from './state.js';

/** What a handler knows of the request it answers. */
export interface Work {
  /** Fires when the client goes away. */
  readonly signal: AbortSignal;
  /** Stops the work: nobody waits for it any more. */
  readonly cancel: () => void;
  /** By `performance.now()`. */
  readonly deadline: number;
}

interface Asked {
  readonly prompt: string;
  readonly image: ImageSource;
}

const partsOf = ({ content }: ChatMessage): readonly ContentPart[] =>
  typeof content === 'string' ? [{ type: 'text', text: content }] : content;

/** The instruction and the picture of a conversation. Throws InputError for what a reader cannot answer. */
export function askedOf(messages: readonly ChatMessage[]): Asked {
  if (messages.some(({ role }) => role === 'assistant')) {
    throw new InputError('messages: a reader has no memory of what it said: send the user message alone');
  }
  const parts = messages.flatMap(partsOf);
  const images = parts.flatMap((part) => (part.type === 'image_url' ? [part.image_url.url] : []));
  if (images.length !== 1) throw new InputError(`messages: expected one image_url part, got ${images.length}`);
  const texts = parts.flatMap((part) => (part.type === 'text' && part.text !== '' ? [part.text] : []));
  return { prompt: texts.join('\n'), image: images[0] };
}

const notUsed = 'this model takes no instructions: the text beside the image was not used';

/** Reads an image; counts what was done. */
async function readImage(
  state: ServerState,
  { id, model }: { readonly id: string; readonly model: NodeVaryModel },
  bytes: Uint8Array,
  options: ReadOptions,
): Promise<ReadResult> {
  const { metrics, prepare } = state;
  const started = performance.now();
  const image = await prepare.forReading(bytes, prepareSettings(model.config));
  const takesPrompt = model.config.input === 'page';
  const { prompt, ...rest } = options;
  const ignored = prompt !== undefined && !takesPrompt;
  const result = await model.readPrepared(image, takesPrompt ? options : rest);
  const { usage, timing, finishReason, warnings } = result;
  const labels = { model_name: id };
  metrics.add('images_total', labels);
  metrics.add('request_success_total', { ...labels, finished_reason: finishReason });
  metrics.add('prompt_tokens_total', labels, usage.promptTokens);
  metrics.add('generation_tokens_total', labels, usage.completionTokens);
  metrics.observe('time_to_first_token_seconds', labels, timing.firstToken);
  if (usage.completionTokens > 1) {
    metrics.observe('time_per_output_token_seconds', labels, timing.decode / (usage.completionTokens - 1));
  }
  metrics.observe('e2e_request_latency_seconds', labels, (performance.now() - started) / 1000);
  return ignored ? { ...result, warnings: [...warnings, notUsed] } : result;
}

/** OpenAI has no word for a blank page. */
const chatReason = ({ finishReason }: ReadResult) => (finishReason === 'blank' ? 'stop' : finishReason);

const chatUsage = ({ usage }: ReadResult) => ({
  prompt_tokens: usage.promptTokens,
  completion_tokens: usage.completionTokens,
  total_tokens: usage.promptTokens + usage.completionTokens,
});

function chatOptions(state: ServerState, request: ChatRequest, prompt: string, work: Work): ReadOptions {
  const { temperature, top_p, seed, stop, retries } = request;
  return {
    maxNewTokens: request.max_completion_tokens ?? request.max_tokens ?? state.limits.maxTokens,
    sampling: {
      // What is left out is greedy: a page has one text.
      ...(temperature !== undefined && { temperature }),
      ...(top_p !== undefined && { topP: top_p }),
      ...(seed !== undefined && { seed }),
    },
    ...(prompt !== '' && { prompt }),
    ...(stop !== undefined && { stop: typeof stop === 'string' ? [stop] : stop }),
    ...(retries !== undefined && { retries }),
    signal: work.signal,
    deadline: work.deadline,
  };
}

export async function answerChat(state: ServerState, request: ChatRequest, work: Work): Promise<Response> {
  const chosen = modelFor(state, 'vary', request.model);
  if (request.stream_options && !request.stream) throw new InputError('stream_options: only with stream: true');
  const { prompt, image } = askedOf(request.messages);
  const bytes = await imageBytes(state, image, work.signal);
  const options = chatOptions(state, request, prompt, work);
  const head = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model: chosen.id };
  if (request.stream) return streamChat(state, chosen, bytes, options, { request, head, work });
  const result = await readImage(state, chosen, bytes, options);
  return Response.json({
    ...head,
    object: 'chat.completion',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: result.text, refusal: null },
        logprobs: null,
        finish_reason: chatReason(result),
      },
    ],
    usage: chatUsage(result),
    warnings: result.warnings,
  });
}

interface Streaming {
  readonly request: ChatRequest;
  readonly head: Readonly<Record<string, unknown>>;
  readonly work: Work;
}

function streamChat(
  state: ServerState,
  chosen: { readonly id: string; readonly model: NodeVaryModel },
  bytes: Uint8Array,
  options: ReadOptions,
  { request, head, work }: Streaming,
): Promise<Response> {
  const withUsage = request.stream_options?.include_usage === true;
  const chunk = (delta: object, reason: string | null, more: object = {}) =>
    JSON.stringify({
      ...head,
      object: 'chat.completion.chunk',
      choices: [{ index: 0, delta, logprobs: null, finish_reason: reason }],
      ...(withUsage && { usage: null }),
      ...more,
    });
  return sendEvents(
    async (send) => {
      let begun = false;
      const begin = () => {
        if (!begun) send(chunk({ role: 'assistant', content: '' }, null));
        begun = true;
      };
      const result = await readImage(state, chosen, bytes, {
        ...options,
        onText: (content) => {
          begin();
          send(chunk({ content }, null));
        },
      });
      begin();
      send(chunk({}, chatReason(result), { warnings: result.warnings }));
      if (withUsage) {
        send(JSON.stringify({ ...head, object: 'chat.completion.chunk', choices: [], usage: chatUsage(result) }));
      }
      send('[DONE]');
    },
    (error) => JSON.stringify(errorBody(answerOf(error))),
    { stallSeconds: state.limits.stallSeconds, onGone: work.cancel },
  );
}

/** What `POST /v1/read` is asked, from its form or its query. */
export interface ReadRequest {
  readonly bytes: Uint8Array;
  readonly model: string | undefined;
  readonly prompt: string | undefined;
  readonly maxTokens: number | undefined;
  readonly retries: number | undefined;
  readonly stream: boolean;
}

const readBody = (id: string, result: ReadResult) => ({
  object: 'reading',
  model: id,
  text: result.text,
  finish_reason: result.finishReason,
  warnings: result.warnings,
  retried: result.retried ?? [],
  coverage: result.coverage ?? null,
  lines: result.lines ?? [],
  usage: chatUsage(result),
  timing: result.timing,
});

export async function answerRead(state: ServerState, request: ReadRequest, work: Work): Promise<Response> {
  const chosen = modelFor(state, 'vary', request.model);
  const options: ReadOptions = {
    maxNewTokens: request.maxTokens ?? state.limits.maxTokens,
    ...(request.prompt !== undefined && { prompt: request.prompt }),
    ...(request.retries !== undefined && { retries: request.retries }),
    signal: work.signal,
    deadline: work.deadline,
  };
  if (!request.stream) {
    return Response.json(readBody(chosen.id, await readImage(state, chosen, request.bytes, options)));
  }
  return sendEvents(
    async (send) => {
      const onText = (text: string) => send(JSON.stringify({ object: 'reading.text', text }));
      const result = await readImage(state, chosen, request.bytes, { ...options, onText });
      send(JSON.stringify(readBody(chosen.id, result)));
      send('[DONE]');
    },
    (error) => JSON.stringify(errorBody(answerOf(error))),
    { stallSeconds: state.limits.stallSeconds, onGone: work.cancel },
  );
}
