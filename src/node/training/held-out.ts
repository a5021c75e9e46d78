/** Held-out conversations: their loss, and the first answers as the model reads them. */
import { InputError } from '../../core/errors.js';
import { ignoreIndex } from '../../core/labels.js';
import type { Tensor } from '../../core/tensor.js';
import { stackImages } from '../../data/batches.js';
import type { ConversationRecord } from '../../data/conversations.js';
import { type PreparedSample, prepareSample } from '../../data/sample.js';
import { roomAfter } from '../../infer/decoder.js';
import { prepareForward } from '../../models/forward-inputs.js';
import { varyFamily } from '../../models/graphs.js';
import type { Session } from '../../runtime/runtime.js';
import { encodeConversationPrompt } from '../../text/conversation.js';
import { splitAtImages } from '../../text/image-tokens.js';
import { type Message, speakerOf, withImagePlaces } from '../../text/messages.js';
import { editDistance } from '../../text/metrics.js';
import { readPrompt } from '../../text/prompt.js';
import { type Arenas, arenaLoader } from '../../train/arena.js';
import { openSampleOptions, type SamplePlan } from '../data/sample-options.js';
import { readDataSet } from '../data/training-data.js';
import { arenaModel } from './arena-model.js';
import type { Evaluation, Start } from './kind.js';
import type { HeldOut, TrainingTemplate } from './run-file.js';

/** The part of a conversation that its first answer follows, and that answer. */
interface Question {
  readonly name: string;
  readonly inputIds: readonly number[];
  readonly pixels: Tensor<'float32'> | undefined;
  readonly truth: string;
}

/** Opens held-out samples; every one is prepared once, so that a broken one is an error before training begins. */
export async function openHeldOut(
  { data, samples, readings, maxNewTokens }: HeldOut,
  plan: Omit<SamplePlan, 'seed'>,
  start: Start,
  template: TrainingTemplate,
): Promise<{ readonly count: number; evaluate(arenas: Arenas): Promise<Evaluation> }> {
  const { imageMode: _, ...rest } = plan;
  const options = openSampleOptions({ ...rest, augment: false, seed: 0 });
  const records = data.flatMap((set) => {
    const { records: read, problems } = readDataSet(set);
    if (problems.length > 0) throw new InputError(`${set.file}:${problems[0].line}: ${problems[0].problem}`);
    return read;
  });
  const used = records.slice(0, samples);
  if (used.length === 0) throw new InputError('evaluation: there are no samples');
  const prepare = (record: ConversationRecord, i: number) => prepareSample(record, i, options);
  for (const [i, record] of used.entries()) await prepare(record, i);
  return {
    count: used.length,
    evaluate: async (arenas) => {
      const loss = await lossOf(arenas, start, async (i) => used[i] && prepare(used[i], i));
      const questions: Question[] = [];
      for (const [i, record] of used.slice(0, readings).entries()) {
        const question = questionOf(record, await prepare(record, i), { start, plan, template });
        if (question) questions.push(question);
      }
      if (questions.length === 0) return { figures: { loss }, better: 'lower', samples: [] };
      const read = await answer(questions, arenas, start, maxNewTokens);
      const errors = questions.reduce((sum, { truth }, i) => sum + editDistance([...truth], [...read[i]]), 0);
      const characters = questions.reduce((sum, { truth }) => sum + [...truth].length, 0);
      return {
        better: 'lower',
        figures: { loss, ...(characters > 0 && { cer: errors / characters }) },
        samples: questions.map(({ name, truth }, i) => ({ name, truth, read: read[i] })),
      };
    },
  };
}

/** The mean of −log p over all labels of the samples. */
async function lossOf(
  arenas: Arenas,
  { config, runtime }: Start,
  sampleAt: (i: number) => Promise<PreparedSample | undefined>,
): Promise<number> {
  const family = varyFamily(config);
  const sessions = new Map<number, Session>();
  let [sum, count] = [0, 0];
  try {
    for (let i = 0; ; i++) {
      const sample = await sampleAt(i);
      if (!sample) return sum / count;
      const { inputIds, labels, pixels } = sample;
      const pixelValues = stackImages(pixels);
      const input = { inputIds: [inputIds], labels: [labels], ...(pixelValues && { pixelValues }) };
      const { graph, feeds } = prepareForward(family, input, { total: 1 });
      const session = sessions.get(pixels.length) ?? (await runtime.compile(graph(), { weights: arenaLoader(arenas) }));
      sessions.set(pixels.length, session);
      sum += Number((await session.run(feeds, { outputs: ['loss'] }))['loss'].data[0]);
      count += labels.slice(1).filter((label) => label !== ignoreIndex).length;
    }
  } finally {
    for (const session of sessions.values()) await session.dispose();
  }
}

/** Undefined where gpt speaks first: nothing asks for that answer. */
function questionOf(
  { where, sample }: ConversationRecord,
  { pixels }: PreparedSample,
  {
    start: { tokenizer, imageTokens },
    plan: { roles = {}, turnSignal = '' },
    template,
  }: {
    readonly start: Start;
    readonly plan: Omit<SamplePlan, 'seed'>;
    readonly template: TrainingTemplate;
  },
): Question | undefined {
  const messages = withImagePlaces(sample, imageTokens, where, roles);
  const first = messages.findIndex((message, i) => speakerOf(message, i, where, roles) === 'gpt');
  if (first < 1) return undefined;
  const before: readonly Message[] = messages.slice(0, first);
  const images = before.reduce((sum, { value }) => sum + splitAtImages(value, imageTokens).length - 1, 0);
  const inputIds =
    template === 'plain' && images > 0
      ? readPrompt(tokenizer, imageTokens, { images })
      : encodeConversationPrompt(tokenizer, imageTokens, before, { turnSignal, roles, where });
  return { name: where, inputIds, pixels: stackImages(pixels.slice(0, images)), truth: messages[first].value };
}

/** What the model answers, greedily, without white space at the ends: a turn signal leaves one. */
async function answer(
  questions: readonly Question[],
  arenas: Arenas,
  start: Start,
  maxNewTokens: number,
): Promise<string[]> {
  const model = arenaModel(start, arenas);
  const texts: string[] = [];
  try {
    for (const { inputIds, pixels } of questions) {
      const most = Math.min(maxNewTokens, roomAfter(inputIds.length, start.config.decoder.maxPositions));
      if (most < 1) {
        texts.push('');
        continue;
      }
      const input = { inputIds: [inputIds], ...(pixels && { pixelValues: pixels }) };
      const [{ tokens }] = await model.generateRows(input, { maxNewTokens: most, stopLoops: true });
      texts.push(start.tokenizer.decode(tokens, { skipSpecialTokens: true }).trim());
    }
  } finally {
    await model.dispose();
  }
  return texts;
}
