/** Embeddings, classification and search over HTTP. */
import { InputError } from '../core/errors.js';
import { floatView, type Tensor } from '../core/tensor.js';
import { rankLabels, writeLabels } from '../infer/labels.js';
import type { NodeClipModel } from '../node/load-clip.js';
import { HttpError } from './answers.js';
import type { ServerLimits } from './limits.js';
import { askedOf, type Work } from './read-routes.js';
import type { ClassifyRequest, EmbeddingsRequest, ImageSource, SearchRequest } from './schemas.js';
import { imageBytes, modelFor, type ServerState } from './state.js';

type Item = { readonly text: string } | { readonly image: ImageSource };

/** What is to be embedded, in order. Throws InputError where there is nothing, or an item that is both or neither. */
function itemsOf({ input, messages }: EmbeddingsRequest): readonly Item[] {
  if ((input === undefined) === (messages === undefined)) throw new InputError('body: expected input or messages');
  if (messages) {
    const { image, prompt } = askedOf(messages);
    if (prompt !== '') throw new InputError('messages: one vector is of an image or of a text: send texts as input');
    return [{ image }];
  }
  if (typeof input === 'string') return [{ text: input }];
  return (input ?? []).map((item, i): Item => {
    if (typeof item === 'string') return { text: item };
    const { text, image } = item;
    if (text !== undefined && image === undefined) return { text };
    if (image !== undefined && text === undefined) return { image };
    throw new InputError(`input[${i}]: expected a text or an image`);
  });
}

/** The unit vector of an image [E]. */
async function embedImage(
  state: ServerState,
  model: NodeClipModel,
  image: ImageSource,
  work: Work,
): Promise<Float32Array> {
  const bytes = await imageBytes(state, image, work.signal);
  const pixels = await state.prepare.forEmbedding(bytes, model.processor);
  const { data } = await model.embedPixels(floatView([1, ...pixels.shape], pixels.data), { signal: work.signal });
  return data;
}

/** Unit vectors of texts and images, and the tokens of the texts. */
async function embedItems(
  state: ServerState,
  model: NodeClipModel,
  items: readonly Item[],
  { truncate }: Pick<EmbeddingsRequest, 'truncate'>,
  work: Work,
): Promise<{ readonly vectors: Float32Array[]; readonly tokens: number }> {
  const texts = items.flatMap((item) => ('text' in item ? [item.text] : []));
  const options = { truncate, signal: work.signal };
  const ofTexts = texts.length === 0 ? undefined : await model.embedTexts(texts, options);
  const rows = ofTexts ? rowsOf(ofTexts) : [];
  const vectors: Float32Array[] = [];
  for (const item of items) {
    vectors.push('text' in item ? (rows.shift() as Float32Array) : await embedImage(state, model, item.image, work));
  }
  return { vectors, tokens: ofTexts?.tokens ?? 0 };
}

/** Rows of texts [texts, E] one by one. */
function rowsOf({ shape: [, width], data }: Tensor<'float32'>): Float32Array[] {
  return Array.from({ length: data.length / width }, (_, i) => data.subarray(i * width, (i + 1) * width));
}

/** Float32, little-endian whatever the machine. */
function base64Of(vector: Float32Array): string {
  const bytes = Buffer.alloc(4 * vector.length);
  vector.forEach((value, i) => void bytes.writeFloatLE(value, 4 * i));
  return bytes.toString('base64');
}

export async function answerEmbeddings(state: ServerState, request: EmbeddingsRequest, work: Work): Promise<Response> {
  const { id, model } = modelFor(state, 'clip', request.model);
  const { embedWidth } = model.config;
  if (request.dimensions !== undefined && request.dimensions !== embedWidth) {
    throw new InputError(`dimensions: ${id} gives vectors of ${embedWidth}, and no others`);
  }
  const items = itemsOf(request);
  const { vectors, tokens } = await embedItems(state, model, items, request, work);
  countPictures(state, id, items.filter((item) => 'image' in item).length, tokens);
  const write = request.encoding_format === 'base64' ? base64Of : (vector: Float32Array) => Array.from(vector);
  return Response.json({
    object: 'list',
    model: id,
    data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: write(vector) })),
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  });
}

function countPictures({ metrics }: ServerState, id: string, images: number, tokens: number): void {
  const labels = { model_name: id };
  metrics.add('images_total', labels, images);
  metrics.add('prompt_tokens_total', labels, tokens);
  metrics.add('request_success_total', { ...labels, finished_reason: 'stop' });
}

export async function answerClassify(state: ServerState, request: ClassifyRequest, work: Work): Promise<Response> {
  const { id, model } = modelFor(state, 'clip', request.model);
  const { labels, template } = request;
  expectShort(labels, listOf(template), state.limits);
  const written = writeLabels(labels, template === undefined ? {} : { template });
  const image = await embedImage(state, model, request.image, work);
  const texts = written.average(await model.embedTexts(written.texts, { signal: work.signal }));
  const { data } = await model.similarities(floatView([1, image.length], image), texts);
  countPictures(state, id, 1, 0);
  return Response.json({ object: 'list', model: id, data: rankLabels(labels, data, model.config.family) });
}

/** Labels in their templates can be many times as long as both: what they would come to is found before they are written. */
function expectShort(
  labels: readonly string[],
  templates: readonly string[],
  { maxInputs, maxTextLength }: ServerLimits,
): void {
  const texts = labels.length * templates.length;
  if (texts > 4 * maxInputs) {
    throw new InputError(`labels: with all templates at most ${4 * maxInputs} texts, got ${texts}`);
  }
  const longest = Math.max(...labels.map((label) => label.length));
  for (const template of templates) {
    const places = template.split('{}').length - 1;
    const length = template.length + places * (longest - 2);
    if (length > maxTextLength) {
      throw new InputError(`template: with the longest label at most ${maxTextLength} characters, got ${length}`);
    }
  }
}

const listOf = (value: string | readonly string[] | undefined): readonly string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value;

export async function answerSearch(state: ServerState, request: SearchRequest, work: Work): Promise<Response> {
  if (!state.index) throw new HttpError(404, 'no_index', 'this server has no index: start it with --index DIR');
  const { index, model } = state.index;
  const { text, image, minus, top, where } = request;
  const vector = image === undefined ? undefined : await embedImage(state, model, image, work);
  const hits = await index.search(
    { text: listOf(text), minus: listOf(minus), ...(vector && { vector }) },
    { top, signal: work.signal, ...(where !== undefined && { where }) },
  );
  countPictures(state, 'index', image === undefined ? 0 : 1, 0);
  return Response.json({
    object: 'list',
    data: hits.map(({ path, score, size, width, height, modified }) => ({
      path,
      score,
      size,
      width,
      height,
      modified: new Date(modified).toISOString(),
    })),
  });
}
