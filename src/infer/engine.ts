/**
 * One scheduler per model. Requests join and leave the running batch at any step: between two decoding steps at most one segment of
 * the tower runs, for one group of images, and one prefill. A small model has several lanes, each with a batch of its own: they take
 * rows from one queue and run beside each other.
 */
import { AbortedError, DeadlineError, InputError, OverloadedError } from '../core/errors.js';
import { floatView, sizeOf, type Tensor } from '../core/tensor.js';
import { afterSeconds } from '../core/timers.js';
import { type Prompt, prefillTokens, roomAfter, type SlotBatch, type SlotDecoder } from './decoder.js';
import { type GeneratedRow, type GrowingRow, type RowOptions, rowsWith } from './generate.js';
import type { PenaltyOptions } from './processors.js';

/** What a lane of the scheduler needs of a model; tests script it. */
export interface EngineModel {
  readonly decoder: SlotDecoder;
  /** Parts of the tower in order: the first takes pixels [images, 3, H, W], the last gives features [images, T, C]. */
  readonly tower: readonly ((x: Tensor, signal?: AbortSignal) => Promise<TowerOutput>)[];
  /** How many images of a shape go through the tower together, at most. */
  towerImages(shape: readonly number[]): number;
  /** Ids with the features [T, C] of their image. Throws InputError where they do not fit. */
  promptOf(ids: readonly number[], features: Tensor<'float32'>): Prompt;
}

/** What a part of the tower gives. */
export interface TowerOutput {
  readonly x: Tensor;
  /** Of the last part, where the tower drafts: the ids that may come after each image's prompt. */
  readonly drafts?: readonly (readonly number[])[];
}

/** A picture that is drawn when its turn comes, where the tower takes it from. */
export interface RowPicture {
  /** [3, H, W]: those of one shape go through the tower together. */
  readonly shape: readonly number[];
  /** Fills all of `into`, which other pictures were in before. */
  draw(into: Float32Array): void;
}

/** One row of a request: ids that are continued, and the picture they are about. */
export interface EngineRow {
  readonly ids: readonly number[];
  readonly picture?: RowPicture;
}

/** Another attempt at a row that has ended. Without a picture it goes on with the features of the one it had. */
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
  /** Rows that are decoded at a time, at most: as many in each lane, or one less. Default 8. */
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
  readonly tasks: Set<Task>;
  /** Tasks with rows in their queue; the next row is the first one's, which then goes to the end. */
  readonly waiting: Task[];
  readonly lanes: readonly Lane[];
}

/** What runs one after another. Only its own loop touches it. */
interface Lane {
  readonly model: EngineModel;
  group: Group | undefined;
  readonly ready: Ready[];
  readonly slots: (Ready | undefined)[];
  batch: SlotBatch | undefined;
  /** Where the pictures of a group are drawn: one piece of memory for all groups, since it is megabytes. */
  canvas: Float32Array;
  /** Its loop, while there is something to do. */
  loop: Promise<void> | undefined;
  /** Calls off what an idle lane will do: let go of its memory. */
  stay: () => void;
}

/**
 * A scheduler over a model, which it does not own: one lane for each of `models`, whose runs may overlap. There are never more lanes
 * than slots.
 */
export function createEngine(
  models: readonly EngineModel[],
  { slots: count = 8, maxWaiting = 64 }: EngineOptions = {},
): Engine {
  const used = models.slice(0, count);
  const schedule: Schedule = {
    tasks: new Set(),
    waiting: [],
    lanes: used.map((model, i) => createLane(model, Math.ceil((count - i) / used.length))),
  };
  const { tasks, lanes } = schedule;
  const [model] = models;
  let closed = false;

  const submit: Engine['submit'] = async (request) => {
    if (closed) throw new OverloadedError('this engine is closing: it takes no more requests');
    const { waiting } = loadOf(schedule);
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
      wake(schedule);
    });
  };
  return {
    submit,
    load: () => loadOf(schedule),
    close: async () => {
      closed = true;
      // A line that is tried again in another shape may wake a lane that was idle.
      while (lanes.some(({ loop }) => loop)) await Promise.all(lanes.map(({ loop }) => loop));
      for (const lane of lanes) letGo(lane);
    },
  };
}

const createLane = (model: EngineModel, slots: number): Lane => ({
  model,
  group: undefined,
  ready: [],
  slots: Array<Ready | undefined>(slots).fill(undefined),
  batch: undefined,
  canvas: new Float32Array(0),
  loop: undefined,
  stay: () => undefined,
});

/** Lanes that have nothing to do look for something. */
function wake(schedule: Schedule): void {
  for (const lane of schedule.lanes) lane.loop ??= runLane(schedule, lane);
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
    rows: request.rows.map(({ ids }, i) =>
      createRow(i, { ids, padding: 0 }, roomAfter(ids.length, model.decoder.maxPositions)),
    ),
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

const loadOf = ({ lanes, tasks }: Schedule): EngineLoad => {
  const slots = lanes.flatMap((lane) => lane.slots);
  const waiting = [...tasks].filter((task) => !task.begun).length;
  return {
    slots: slots.length,
    usedSlots: slots.filter((place) => place && !place.task.settled).length,
    running: tasks.size - waiting,
    waiting,
  };
};

const resultOf = ({ rows, submitted, firstToken, towerSeconds }: Task): EngineResult => ({
  rows: rows.map((row, prompt) => ({ ...row.result(), prompt })),
  firstToken: ((firstToken ?? performance.now()) - submitted) / 1000,
  tower: towerSeconds,
});

/** Settles a task: with its rows as they are, or with an error. Its places are free before each lane's next run. */
function endTask({ waiting }: Schedule, task: Task, error?: unknown): void {
  waiting.splice(0, waiting.length, ...waiting.filter((other) => other !== task));
  for (const row of task.rows) row.finish('aborted');
  task.settle(error);
}

function emptySlot({ slots, batch }: Lane, slot: number): void {
  slots[slot] = undefined;
  batch?.clear(slot);
}

/** Works until there is nothing left to do. */
async function runLane(schedule: Schedule, lane: Lane): Promise<void> {
  lane.stay();
  // What is submitted together is seen together.
  await undefined;
  while (schedule.waiting.length > 0 || isBusy(lane)) {
    sweep(schedule, lane);
    await attempt(schedule, placesOf(lane.slots), () => stepAll(schedule, lane));
    sweep(schedule, lane);
    const joining = nextToJoin(lane);
    if (joining) await attempt(schedule, joining.rows, () => join(schedule, lane, joining));
    sweep(schedule, lane);
    const group = lane.group ?? beginGroup(schedule, lane);
    lane.group = undefined;
    if (group) await attempt(schedule, group.places, () => runSegment(schedule, lane, group));
  }
  lane.loop = undefined;
  lane.stay = afterSeconds(idleSeconds, () => letGo(lane));
}

/**
 * How long an idle lane keeps its memory for the next request: a cache of hundreds of megabytes for each would have the collector run for
 * each.
 */
const idleSeconds = 10;

/** The lane holds no cache and no pictures any more. */
function letGo(lane: Lane): void {
  lane.stay();
  lane.batch?.dispose();
  lane.batch = undefined;
  lane.canvas = new Float32Array(0);
}

const isBusy = ({ group, ready, slots }: Lane): boolean =>
  group !== undefined || ready.length > 0 || slots.some((place) => place !== undefined);

const placesOf = (slots: Lane['slots']): Ready[] => slots.filter((place) => place !== undefined);

/** Ends what was aborted, and what has no time left; the lane lets go of what has ended. */
function sweep(schedule: Schedule, lane: Lane): void {
  const now = performance.now();
  for (const task of [...schedule.tasks]) {
    const { signal, deadline = Number.POSITIVE_INFINITY } = task.request;
    if (signal?.aborted) endTask(schedule, task);
    else if (now > deadline) {
      const seconds = ((now - task.submitted) / 1000).toFixed(1);
      endTask(schedule, task, new DeadlineError(`the request was not done within its time: ${seconds} s have passed`));
    }
  }
  const { ready, slots } = lane;
  ready.splice(0, ready.length, ...ready.filter(({ task }) => !task.settled));
  slots.forEach((place, slot) => {
    if (place?.task.settled) emptySlot(lane, slot);
  });
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

async function stepAll(schedule: Schedule, lane: Lane): Promise<void> {
  const { slots } = lane;
  const used = slots.findLastIndex((place) => place !== undefined) + 1;
  if (used === 0) return;
  const rowOf = ({ task, index }: Place) => task.rows[index];
  const tokens = slots.slice(0, used).map((place) => place && (rowOf(place).tokens.at(-1) as number));
  const batch = batchOf(lane);
  const logits = await batch.step(tokens.map((token) => token ?? null));
  slots.slice(0, used).forEach((place, slot) => {
    if (place && !place.task.settled) takeToken(schedule, lane, slot, place, logits[slot]);
  });
}

const batchOf = (lane: Lane): SlotBatch => {
  lane.batch ??= lane.model.decoder.openSlots(lane.slots.length);
  return lane.batch;
};

/** Gives a row its next token; a row that has ended leaves its slot. */
function takeToken(schedule: Schedule, lane: Lane, slot: number, place: Ready, logits: Float32Array): void {
  const { task, index } = place;
  const row = task.rows[index];
  try {
    row.take(logits);
    if (!row.finishReason()) return;
    emptySlot(lane, slot);
    const next = task.request.onRow?.(index, { ...row.result(), prompt: index });
    if (next === 'enough') endTask(schedule, task);
    else if (next) tryAgain(schedule, lane, place, next);
    else task.ended++;
  } catch (error) {
    // A callback of the caller's.
    endTask(schedule, task, error);
  }
  if (task.ended === task.rows.length) task.settle();
}

/** A row begins anew; it waits for the tower only where it has another picture. */
function tryAgain(
  schedule: Schedule,
  { model, ready }: Lane,
  { task, index, prompt }: Ready,
  attempt: RowAttempt,
): void {
  const { ids, picture, history = ids, maxNewTokens = task.request.maxNewTokens, ...penalties } = attempt;
  const options = { ...task.request, ...penalties, ...(maxNewTokens !== undefined && { maxNewTokens }) };
  task.rows[index] = rowsWith(options)(
    index,
    { ids: history, padding: 0 },
    roomAfter(ids.length, model.decoder.maxPositions),
  );
  task.inputs[index] = attempt;
  if (!picture) {
    const { images } = prompt;
    ready.push({ task, index, prompt: images ? model.promptOf(ids, images.features) : { ids } });
    return;
  }
  if (task.queue.length === 0) schedule.waiting.push(task);
  task.queue.push(index);
  wake(schedule);
}

/** How many tokens can follow a prompt. */
const roomOf = ({ decoder }: EngineModel, { request: { maxNewTokens = 512 } }: Task, { ids }: Prompt): number =>
  Math.min(maxNewTokens, roomAfter(ids.length, decoder.maxPositions));

/** A prompt with as much of a draft as can be of use: the last token that there is room for needs no logits after it. */
const withDraft = (prompt: Prompt, draft: readonly number[] | undefined, room: number): Prompt =>
  draft ? { ...prompt, draft: draft.slice(0, Math.max(0, room - 1)) } : prompt;

interface Joining {
  readonly first: number;
  readonly rows: readonly Ready[];
}

/**
 * Rows that are ready and as long as the first, so many as one run takes, and slots beside each other for them: the first that hold them all,
 * or else the most there are.
 */
function nextToJoin({ ready, slots }: Lane): Joining | undefined {
  if (ready.length === 0) return undefined;
  const { length } = ready[0].prompt.ids;
  const rows: Ready[] = [];
  let drafted = 0;
  for (const place of ready) {
    const { ids, draft = [] } = place.prompt;
    if (ids.length !== length) continue;
    drafted = Math.max(drafted, draft.length);
    if (rows.length > 0 && (rows.length + 1) * (length + drafted) > prefillTokens) break;
    rows.push(place);
  }
  const runs = freeRuns(slots);
  const most = Math.min(rows.length, Math.max(0, ...runs.map(({ count }) => count)));
  const run = runs.find(({ count }) => count >= most);
  return run && { first: run.first, rows: rows.slice(0, most) };
}

/** Free slots beside each other. */
function freeRuns(slots: Lane['slots']): readonly { readonly first: number; readonly count: number }[] {
  const runs: { first: number; count: number }[] = [];
  for (const [slot, place] of slots.entries()) {
    const last = runs.at(-1);
    if (place !== undefined) continue;
    if (last && last.first + last.count === slot) last.count++;
    else runs.push({ first: slot, count: 1 });
  }
  return runs;
}

async function join(schedule: Schedule, lane: Lane, { first, rows }: Joining): Promise<void> {
  lane.ready.splice(0, lane.ready.length, ...lane.ready.filter((place) => !rows.includes(place)));
  const longest = Math.max(...rows.map(({ task, prompt }) => prompt.ids.length + roomOf(lane.model, task, prompt)));
  const prompts = rows.map(({ prompt }) => prompt);
  const logits = await batchOf(lane).fill(first, prompts, longest, soleSignal(rows));
  rows.forEach((place, i) => {
    const { task } = place;
    if (task.settled) {
      lane.batch?.clear(first + i);
      return;
    }
    task.firstToken ??= performance.now();
    lane.slots[first + i] = place;
    takeTokens(schedule, lane, first + i, place, logits[i]);
  });
}

/** Gives a row its first token, and those after it as long as they are its draft's. */
function takeTokens(schedule: Schedule, lane: Lane, slot: number, place: Ready, logits: readonly Float32Array[]): void {
  const { draft = [] } = place.prompt;
  const row = place.task.rows[place.index];
  for (const [taken, after] of logits.entries()) {
    takeToken(schedule, lane, slot, place, after);
    // It has ended, or its request has: what was aborted meanwhile ends with the next sweep.
    if (lane.slots[slot] !== place || place.task.settled || place.task.request.signal?.aborted) return;
    if (row.tokens.at(-1) === draft[taken]) continue;
    if (taken > 0) lane.batch?.accept(slot, taken);
    return;
  }
}

/** The signal of a run that only one task takes part in. */
function soleSignal(places: readonly Place[]): AbortSignal | undefined {
  const tasks = new Set(places.map(({ task }) => task));
  return tasks.size === 1 ? places[0].task.request.signal : undefined;
}

/**
 * The lane's part of the next rows, one of each task in turn, with pictures of one shape: that of the first. Rows without a picture
 * are ready at once.
 */
function beginGroup(schedule: Schedule, lane: Lane): Group | undefined {
  const { waiting, lanes } = schedule;
  const { model, ready, slots } = lane;
  // What is ready joins first: where it leaves little room, groups would be small, and so would those after them.
  if (ready.length > 0) return undefined;
  const free = slots.filter((place) => place === undefined).length;
  const queued = waiting.reduce((sum, { queue }) => sum + queue.length, 0);
  let most = Math.ceil(queued / lanes.length);
  const places: Place[] = [];
  /** Tasks that have other shapes only keep their turn. */
  const passed: Task[] = [];
  let shape: readonly number[] | undefined;
  while (waiting.length > 0 && places.length < most && ready.length + places.length < Math.max(1, free)) {
    const task = waiting.shift() as Task;
    const at = task.queue.findIndex((index) => isOfShape(task.inputs[index].picture, shape));
    if (at < 0) {
      passed.push(task);
      continue;
    }
    const [index] = task.queue.splice(at, 1);
    task.begun = true;
    if (task.queue.length > 0) waiting.push(task);
    const { ids, picture } = task.inputs[index];
    if (!picture) {
      ready.push({ task, index, prompt: { ids } });
      continue;
    }
    try {
      const size = sizeOf(picture.shape);
      most = Math.min(most, model.towerImages(picture.shape));
      if (lane.canvas.length < most * size) lane.canvas = new Float32Array(most * size);
      picture.draw(lane.canvas.subarray(places.length * size, (places.length + 1) * size));
      places.push({ task, index });
      shape = picture.shape;
    } catch (error) {
      endTask(schedule, task, error);
    }
  }
  waiting.unshift(...passed);
  if (places.length === 0 || !shape) return undefined;
  const x = floatView([places.length, ...shape], lane.canvas.subarray(0, places.length * sizeOf(shape)));
  return { places, x, segment: 0 };
}

/** Whether a row can go with pictures of this shape, if there are any: one without a picture goes with all. */
const isOfShape = (picture: RowPicture | undefined, shape: readonly number[] | undefined): boolean =>
  !picture || !shape || picture.shape.every((extent, axis) => extent === shape[axis]);

async function runSegment(schedule: Schedule, lane: Lane, { places, x, segment }: Group): Promise<void> {
  const { model } = lane;
  const left = new Set(places.map(({ task }) => task).filter((task) => !task.settled));
  if (left.size === 0) return;
  const started = performance.now();
  const { x: next, drafts = [] } = await model.tower[segment](x, soleSignal(places));
  const seconds = (performance.now() - started) / 1000;
  for (const task of left) task.towerSeconds += seconds;
  if (segment + 1 < model.tower.length) {
    lane.group = { places, x: next, segment: segment + 1 };
    return;
  }
  const [, rows, width] = next.shape;
  places.forEach(({ task, index }, i) => {
    if (task.settled) return;
    const own = (next.data as Float32Array).subarray(i * rows * width, (i + 1) * rows * width);
    try {
      const prompt = model.promptOf(task.inputs[index].ids, floatView([rows, width], own));
      lane.ready.push({ task, index, prompt: withDraft(prompt, drafts[i], roomOf(model, task, prompt)) });
    } catch (error) {
      endTask(schedule, task, error);
    }
  });
}
