/**
 * One scheduler per model. Requests join and leave the running batch at any step: between two decoding steps at most one segment of
 * the tower runs, for one group of images, and one prefill.
 */
import { AbortedError, DeadlineError, InputError, OverloadedError } from '../core/errors.js';
import { floatView, type Tensor } from '../core/tensor.js';
import { type Prompt, prefillTokens, type SlotBatch, type SlotDecoder } from './decoder.js';
import { type GeneratedRow, type GrowingRow, type RowOptions, rowsWith } from './generate.js';
import type { PenaltyOptions } from './processors.js';

/** What the scheduler needs of a model; tests script it. */
export interface EngineModel {
  readonly decoder: SlotDecoder;
  /** Parts of the tower in order: the first takes pixels [images, 3, H, W], the last gives features [images, T, C]. */
  readonly tower: readonly ((x: Tensor, signal?: AbortSignal) => Promise<Tensor>)[];
  /** Images that go through the tower together, at most. */
  readonly towerImages: number;
  /** Ids with the features [T, C] of their image. Throws InputError where they do not fit. */
  promptOf(ids: readonly number[], features: Tensor<'float32'>): Prompt;
}

/** One row of a request: ids that are continued, and the picture they are about. */
export interface EngineRow {
  readonly ids: readonly number[];
  /** Float32 [3, H, W]; asked for when its turn comes. */
  readonly pixels?: () => Tensor<'float32'>;
}

/** Another attempt at a row that has ended. Without pixels it goes on with the features of the picture it had. */
export interface RowAttempt extends EngineRow, PenaltyOptions {
  /** What penalties see. Default: `ids`. */
  readonly history?: readonly number[];
  readonly maxNewTokens?: number;
}

export interface EngineRequest extends RowOptions {
  readonly rows: readonly EngineRow[];
  /**
   * Called when a row has ended, in whatever order rows end. An attempt that is returned is made in its place, and the row ends
   * anew; after 'enough' the request ends with the rows as they are.
   */
  readonly onRow?: (index: number, row: GeneratedRow) => RowAttempt | 'enough' | undefined;
  readonly signal?: AbortSignal;
  /** When to give up, by `performance.now()`. */
  readonly deadline?: number;
}

export interface EngineResult {
  readonly rows: readonly GeneratedRow[];
  /** Seconds until the first row began to decode: waiting, tower and prefill. */
  readonly firstToken: number;
  /** Seconds of the runs of the tower that its images took part in. */
  readonly tower: number;
}

export interface EngineOptions {
  /** Rows that are decoded together, at most. Default 8. */
  readonly slots?: number;
  /** Requests that wait for their first row to begin, at most. Default 64. */
  readonly maxWaiting?: number;
}

/** How busy an engine is. */
export interface EngineLoad {
  readonly slots: number;
  readonly usedSlots: number;
  /** Requests of which a row has begun. */
  readonly running: number;
  readonly waiting: number;
}

export interface Engine {
  /**
   * Continues the rows of a request together with all others. An aborted request ends with the rows it has. Throws InputError for
   * rows that no model could take, OverloadedError where too many wait, DeadlineError where the time is over.
   */
  submit(request: EngineRequest): Promise<EngineResult>;
  load(): EngineLoad;
  /** Refuses what comes from now on, and waits for what is there. */
  close(): Promise<void>;
}

/** A request on its way. */
interface Task {
  readonly request: EngineRequest;
  /** What every row is continued from, and as what it grows: by its last attempt. */
  readonly inputs: EngineRow[];
  readonly rows: GrowingRow[];
  readonly submitted: number;
  /** Rows that have not begun, and those whose next attempt has not, in their order. */
  readonly queue: number[];
  begun: boolean;
  ended: number;
  firstToken: number | undefined;
  towerSeconds: number;
  settled: boolean;
  readonly settle: (error?: unknown) => void;
}

/** A row of a task. */
interface Place {
  readonly task: Task;
  readonly index: number;
}
/** A row whose prompt is whole. */
interface Ready extends Place {
  readonly prompt: Prompt;
}
/** Images inside the tower. */
interface Group {
  readonly places: readonly Place[];
  readonly x: Tensor;
  readonly segment: number;
}

/** Everything the scheduler keeps. */
interface Schedule {
  /** Tasks with rows in their queue; the next row is the first one's, which then goes to the end. */
  readonly waiting: Task[];
  group: Group | undefined;
  readonly ready: Ready[];
  readonly slots: (Ready | undefined)[];
  batch: SlotBatch | undefined;
}

/** A scheduler over `model`, which it does not own. */
export function createEngine(model: EngineModel, { slots: count = 8, maxWaiting = 64 }: EngineOptions = {}): Engine {
  const schedule: Schedule = {
    waiting: [],
    group: undefined,
    ready: [],
    slots: Array<Ready | undefined>(count).fill(undefined),
    batch: undefined,
  };
  const tasks = new Set<Task>();
  let loop: Promise<void> | undefined;
  let closed = false;

  const drive = async () => {
    while (tasks.size > 0) await runAll(model, schedule, tasks);
    loop = undefined;
  };
  const submit: Engine['submit'] = async (request) => {
    if (closed) throw new OverloadedError('this engine is closing: it takes no more requests');
    const { waiting } = loadOf(schedule, tasks);
    if (waiting >= maxWaiting) throw new OverloadedError(`${waiting} requests wait already, which is as many as may`);
    checkRows(model, request);
    return new Promise((resolve, reject) => {
      const task = createTask(model, request, (error) => {
        tasks.delete(task);
        request.signal?.removeEventListener('abort', abort);
        if (error !== undefined) reject(error as Error);
        else resolve(resultOf(task));
      });
      // What waits is gone at once; what runs, at the next step.
      const abort = () => {
        if (!task.begun) endTask(schedule, task);
      };
      tasks.add(task);
      schedule.waiting.push(task);
      request.signal?.addEventListener('abort', abort, { once: true });
      if (request.signal?.aborted) return endTask(schedule, task);
      loop ??= drive();
    });
  };
  return {
    submit,
    load: () => loadOf(schedule, tasks),
    close: async () => {
      closed = true;
      await loop;
    },
  };
}

function checkRows({ decoder: { maxPositions } }: EngineModel, { rows }: EngineRequest): void {
  if (rows.length === 0) throw new InputError('rows: expected at least one');
  for (const { ids } of rows) {
    if (ids.length === 0) throw new InputError('the prompt is empty');
    if (ids.length > maxPositions) {
      throw new InputError(`the prompt has ${ids.length} tokens, the model has ${maxPositions} positions`);
    }
  }
}

function createTask(model: EngineModel, request: EngineRequest, settle: (error?: unknown) => void): Task {
  const createRow = rowsWith(request);
  const task: Task = {
    request,
    inputs: [...request.rows],
    rows: request.rows.map(({ ids }, i) => createRow(i, { ids, padding: 0 }, model.decoder.maxPositions - ids.length)),
    submitted: performance.now(),
    queue: [...request.rows.keys()],
    begun: false,
    ended: 0,
    firstToken: undefined,
    towerSeconds: 0,
    settled: false,
    settle: (error) => {
      if (task.settled) return;
      task.settled = true;
      settle(error);
    },
  };
  return task;
}

const loadOf = ({ slots }: Schedule, tasks: ReadonlySet<Task>): EngineLoad => {
  const waiting = [...tasks].filter((task) => !task.begun).length;
  return {
    slots: slots.length,
    usedSlots: slots.filter((place) => place !== undefined).length,
    running: tasks.size - waiting,
    waiting,
  };
};

const resultOf = ({ rows, submitted, firstToken, towerSeconds }: Task): EngineResult => ({
  rows: rows.map((row, prompt) => ({ ...row.result(), prompt })),
  firstToken: ((firstToken ?? performance.now()) - submitted) / 1000,
  tower: towerSeconds,
});

/** Takes a task out of everything it is in, and settles it: with its rows as they are, or with an error. */
function endTask(schedule: Schedule, task: Task, error?: unknown): void {
  const { waiting, ready, slots, batch } = schedule;
  const others = <T extends { readonly task: Task }>(places: readonly T[]) =>
    places.filter((place) => place.task !== task);
  waiting.splice(0, waiting.length, ...waiting.filter((other) => other !== task));
  ready.splice(0, ready.length, ...others(ready));
  slots.forEach((place, slot) => {
    if (place?.task === task) emptySlot(slots, batch, slot);
  });
  for (const row of task.rows) row.finish('aborted');
  task.settle(error);
}

function emptySlot(slots: Schedule['slots'], batch: SlotBatch | undefined, slot: number): void {
  slots[slot] = undefined;
  batch?.clear(slot);
}

/** Works until there is nothing left to do. */
async function runAll(model: EngineModel, schedule: Schedule, tasks: ReadonlySet<Task>): Promise<void> {
  while (tasks.size > 0) {
    sweep(schedule, tasks);
    await attempt(schedule, placesOf(schedule.slots), () => stepAll(model, schedule));
    sweep(schedule, tasks);
    const joining = nextToJoin(schedule);
    if (joining) await attempt(schedule, joining.rows, () => join(model, schedule, joining));
    sweep(schedule, tasks);
    const group = schedule.group ?? beginGroup(model, schedule);
    schedule.group = undefined;
    if (group) await attempt(schedule, group.places, () => runSegment(model, schedule, group));
  }
  // An idle engine holds no cache.
  schedule.batch?.dispose();
  schedule.batch = undefined;
}

const placesOf = (slots: Schedule['slots']): Ready[] => slots.filter((place) => place !== undefined);

/** Ends what was aborted, and what has no time left. */
function sweep(schedule: Schedule, tasks: ReadonlySet<Task>): void {
  const now = performance.now();
  for (const task of [...tasks]) {
    const { signal, deadline = Number.POSITIVE_INFINITY } = task.request;
    if (signal?.aborted) endTask(schedule, task);
    else if (now > deadline) {
      const seconds = ((now - task.submitted) / 1000).toFixed(1);
      endTask(schedule, task, new DeadlineError(`the request was not done within its time: ${seconds} s have passed`));
    }
  }
}

/** A run that fails takes the tasks with it that were in it, and no others. */
async function attempt(schedule: Schedule, places: readonly Place[], run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    for (const task of new Set(places.map((place) => place.task))) {
      const own = error instanceof AbortedError && task.request.signal?.aborted;
      endTask(schedule, task, own ? undefined : error);
    }
  }
}

async function stepAll(model: EngineModel, schedule: Schedule): Promise<void> {
  const { slots } = schedule;
  const used = slots.findLastIndex((place) => place !== undefined) + 1;
  if (used === 0) return;
  const rowOf = ({ task, index }: Place) => task.rows[index];
  const tokens = slots.slice(0, used).map((place) => place && (rowOf(place).tokens.at(-1) as number));
  const batch = batchOf(model, schedule);
  const logits = await batch.step(tokens.map((token) => token ?? null));
  slots.slice(0, used).forEach((place, slot) => {
    if (place && !place.task.settled) takeToken(model, schedule, slot, place, logits[slot]);
  });
}

const batchOf = ({ decoder }: EngineModel, schedule: Schedule): SlotBatch => {
  schedule.batch ??= decoder.openSlots(schedule.slots.length);
  return schedule.batch;
};

/** Gives a row its next token; a row that has ended leaves its slot. */
function takeToken(model: EngineModel, schedule: Schedule, slot: number, place: Ready, logits: Float32Array): void {
  const { task, index } = place;
  const row = task.rows[index];
  try {
    row.take(logits);
    if (!row.finishReason()) return;
    emptySlot(schedule.slots, schedule.batch, slot);
    const next = task.request.onRow?.(index, { ...row.result(), prompt: index });
    if (next === 'enough') endTask(schedule, task);
    else if (next) tryAgain(model, schedule, place, next);
    else task.ended++;
  } catch (error) {
    // A callback of the caller's.
    endTask(schedule, task, error);
  }
  if (task.ended === task.rows.length) task.settle();
}

/** A row begins anew; it waits for the tower only where it has another picture. */
function tryAgain(model: EngineModel, schedule: Schedule, { task, index, prompt }: Ready, attempt: RowAttempt): void {
  const { ids, pixels, history = ids, maxNewTokens = task.request.maxNewTokens, ...penalties } = attempt;
  const options = { ...task.request, ...penalties, ...(maxNewTokens !== undefined && { maxNewTokens }) };
  task.rows[index] = rowsWith(options)(index, { ids: history, padding: 0 }, model.decoder.maxPositions - ids.length);
  task.inputs[index] = attempt;
  if (!pixels) {
    const { images } = prompt;
    schedule.ready.push({ task, index, prompt: images ? model.promptOf(ids, images.features) : { ids } });
    return;
  }
  if (task.queue.length === 0) schedule.waiting.push(task);
  task.queue.push(index);
}

interface Joining {
  readonly first: number;
  readonly rows: readonly Ready[];
}

/** Rows that are ready, in their order, for the first free slots beside each other: of one length, so many as one run takes. */
function nextToJoin({ ready, slots }: Schedule): Joining | undefined {
  const first = slots.indexOf(undefined);
  if (first < 0 || ready.length === 0) return undefined;
  const length = ready[0].prompt.ids.length;
  let count = 1;
  while (
    count < ready.length &&
    first + count < slots.length &&
    slots[first + count] === undefined &&
    ready[count].prompt.ids.length === length &&
    (count + 1) * length <= prefillTokens
  ) {
    count++;
  }
  return { first, rows: ready.slice(0, count) };
}

async function join(model: EngineModel, schedule: Schedule, { first, rows }: Joining): Promise<void> {
  schedule.ready.splice(0, rows.length);
  const { maxPositions } = model.decoder;
  const room = ({ task, prompt }: Ready) => prompt.ids.length + (task.request.maxNewTokens ?? 512);
  const longest = Math.min(maxPositions, Math.max(...rows.map(room)));
  const prompts = rows.map(({ prompt }) => prompt);
  const logits = await batchOf(model, schedule).fill(first, prompts, longest, soleSignal(rows));
  rows.forEach((place, i) => {
    const { task } = place;
    if (task.settled) {
      schedule.batch?.clear(first + i);
      return;
    }
    task.firstToken ??= performance.now();
    schedule.slots[first + i] = place;
    takeToken(model, schedule, first + i, place, logits[i]);
  });
}

/** The signal of a run that only one task takes part in. */
function soleSignal(places: readonly Place[]): AbortSignal | undefined {
  const tasks = new Set(places.map(({ task }) => task));
  return tasks.size === 1 ? places[0].task.request.signal : undefined;
}

/** The next rows, one of each task in turn; rows without a picture are ready at once. */
function beginGroup({ towerImages }: EngineModel, schedule: Schedule): Group | undefined {
  const { waiting, ready, slots } = schedule;
  const free = slots.filter((place) => place === undefined).length;
  const places: Place[] = [];
  const pixels: Tensor<'float32'>[] = [];
  while (waiting.length > 0 && places.length < towerImages && ready.length + places.length < Math.max(1, free)) {
    const task = waiting.shift() as Task;
    const index = task.queue.shift() as number;
    task.begun = true;
    if (task.queue.length > 0) waiting.push(task);
    const row = task.inputs[index];
    if (!row.pixels) {
      ready.push({ task, index, prompt: { ids: row.ids } });
      continue;
    }
    try {
      pixels.push(row.pixels());
      places.push({ task, index });
    } catch (error) {
      endTask(schedule, task, error);
    }
  }
  return places.length === 0 ? undefined : { places, x: stack(pixels), segment: 0 };
}

/** Tensors of one shape under each other. */
function stack(parts: readonly Tensor<'float32'>[]): Tensor<'float32'> {
  const shape = [parts.length, ...parts[0].shape];
  if (parts.length === 1) return floatView(shape, parts[0].data);
  const data = new Float32Array(parts.length * parts[0].data.length);
  parts.forEach((part, i) => void data.set(part.data, i * part.data.length));
  return floatView(shape, data);
}

async function runSegment(model: EngineModel, schedule: Schedule, { places, x, segment }: Group): Promise<void> {
  const left = new Set(places.map(({ task }) => task).filter((task) => !task.settled));
  if (left.size === 0) return;
  const started = performance.now();
  const next = await model.tower[segment](x, soleSignal(places));
  const seconds = (performance.now() - started) / 1000;
  for (const task of left) task.towerSeconds += seconds;
  if (segment + 1 < model.tower.length) {
    schedule.group = { places, x: next, segment: segment + 1 };
    return;
  }
  const [, rows, width] = next.shape;
  places.forEach(({ task, index }, i) => {
    if (task.settled) return;
    const own = (next.data as Float32Array).subarray(i * rows * width, (i + 1) * rows * width);
    try {
      const prompt = model.promptOf(task.inputs[index].ids, floatView([rows, width], own));
      schedule.ready.push({ task, index, prompt });
    } catch (error) {
      endTask(schedule, task, error);
    }
  });
}
