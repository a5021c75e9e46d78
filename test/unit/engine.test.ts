import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeadlineError, InputError, OverloadedError } from '../../src/core/errors.js';
import { createRng } from '../../src/core/rng.js';
import { floats, type Tensor } from '../../src/core/tensor.js';
import type { SlotBatch } from '../../src/infer/decoder.js';
import { createEngine, type EngineModel, type EngineRequest, type RowPicture } from '../../src/infer/engine.js';

const vocabulary = 50;

interface Events {
  readonly log: string[];
  /** How long the drafts were that came with prompts. */
  readonly drafted: number[];
  /** Called before each event; may wait. */
  before: (event: string) => Promise<void> | void;
}

/** A model whose next token is the last plus one plus how its picture shifts it, and which writes down what it does. */
function scripted({
  segments = 2,
  towerImages = 1,
  maxPositions = 64,
  drafts,
}: {
  readonly segments?: number;
  readonly towerImages?: number;
  readonly maxPositions?: number;
  /** Of a picture, by how it shifts. */
  readonly drafts?: (shift: number) => number[];
} = {}): { model: EngineModel; events: Events } {
  const events: Events = { log: [], drafted: [], before: () => undefined };
  let running = 0;
  const note = async (event: string) => {
    running++;
    // Real runs end on the event loop.
    await new Promise((done) => setImmediate(done));
    await events.before(event);
    events.log.push(event);
    running--;
  };
  const logitsFor = (token: number, shift: number) =>
    Float32Array.from({ length: vocabulary }, (_, id) => (id === (token + 1 + shift) % vocabulary ? 5 : 0));
  const openSlots = (count: number): SlotBatch => {
    const shifts = Array<number | undefined>(count).fill(undefined);
    return {
      fill: async (first, prompts) => {
        await note(`fill ${first}+${prompts.length}`);
        prompts.forEach((prompt, i) => {
          assert.equal(shifts[first + i], undefined, 'a slot is filled that is not empty');
          shifts[first + i] = prompt.images?.features.data[0] ?? 0;
        });
        return prompts.map(({ ids, draft = [] }, i) => {
          const shift = shifts[first + i] as number;
          assert.ok(ids.length + draft.length <= maxPositions, 'a draft leaves the positions');
          events.drafted.push(draft.length);
          return [ids.at(-1) as number, ...draft].map((token) => logitsFor(token, shift));
        });
      },
      accept: (row, count) => events.log.push(`accept ${row}: ${count}`),
      clear: (row) => {
        shifts[row] = undefined;
      },
      step: async (tokens) => {
        await note(`step ${tokens.filter((token) => token !== null).length}/${tokens.length}`);
        return tokens.map((token, i) => logitsFor(token ?? 0, shifts[i] ?? 0));
      },
      reorder: () => assert.fail('the engine moves no rows'),
      dispose: () => {
        assert.equal(running, 0, 'disposed while it runs');
        events.log.push('dispose');
      },
    };
  };
  const stage = (segment: number) => async (x: Tensor) => {
    await note(`tower.${segment} ${x.shape[0]}`);
    // Results are the caller's own; pictures are drawn over.
    const values = Float32Array.from(x.data as Float32Array);
    const isLast = segment === segments - 1;
    return { x: floats(x.shape, values), ...(isLast && drafts && { drafts: Array.from(values, drafts) }) };
  };
  const model: EngineModel = {
    decoder: { maxPositions, openSlots },
    tower: Array.from({ length: segments }, (_, i) => stage(i)),
    towerImages: () => towerImages,
    promptOf: (ids, features) => ({ ids, images: { features, source: ids.map((_, i) => i) } }),
  };
  return { model, events };
}

const picture = (shift: number): RowPicture => ({ shape: [1, 1], draw: (into) => into.fill(shift) });
const request = (start: number, changes: Partial<EngineRequest> = {}): EngineRequest => ({
  rows: [{ ids: [start], picture: picture(0) }],
  eosId: null,
  maxNewTokens: 4,
  ...changes,
});
const tokensOf = async (result: ReturnType<ReturnType<typeof createEngine>['submit']>) =>
  (await result).rows.map(({ tokens }) => tokens);

test('requests that join and leave at different steps get what each gets alone', async () => {
  const { model } = scripted();
  const engine = createEngine([model], { slots: 3 });
  const lengths = [9, 2, 5, 1, 7, 3, 4, 8];
  const wanted = lengths.map((maxNewTokens, i) =>
    Array.from({ length: maxNewTokens }, (_, t) => (i + t + 1) % vocabulary),
  );
  const got = await Promise.all(
    lengths.map((maxNewTokens, i) => tokensOf(engine.submit(request(i, { maxNewTokens })))),
  );
  assert.deepEqual(
    got.map(([tokens]) => tokens),
    wanted,
  );
  assert.deepEqual(engine.load(), { slots: 3, usedSlots: 0, running: 0, waiting: 0 });
});

test('pictures go to their own rows', async () => {
  const { model } = scripted({ towerImages: 4 });
  const engine = createEngine([model], { slots: 4 });
  const rows = [3, 0, 7].map((shift) => ({ ids: [10], picture: picture(shift) }));
  const result = await engine.submit({ rows, eosId: null, maxNewTokens: 2 });
  assert.deepEqual(
    result.rows.map(({ tokens, prompt }) => [prompt, ...tokens]),
    [
      [0, 14, 18],
      [1, 11, 12],
      [2, 18, 26],
    ],
  );
});

test('between two steps at most one segment and one prefill run', async () => {
  const { model, events } = scripted({ segments: 3 });
  const engine = createEngine([model], { slots: 4 });
  const long = engine.submit(request(0, { maxNewTokens: 30 }));
  const others = [1, 2].map((start) => engine.submit(request(start)));
  await Promise.all([long, ...others]);
  const from = events.log.findIndex((event) => event.startsWith('fill'));
  const to = events.log.lastIndexOf('fill 0+1');
  let since: string[] = [];
  for (const event of events.log.slice(from, to < from + 1 ? undefined : to)) {
    if (event.startsWith('step')) since = [];
    else since.push(event);
    assert.ok(since.filter((other) => other.startsWith('tower')).length <= 1, events.log.join(', '));
    assert.ok(since.filter((other) => other.startsWith('fill')).length <= 1, events.log.join(', '));
  }
  assert.equal(events.log.filter((event) => event.startsWith('tower')).length, 9);
});

test('a page of many lines lets a single line in before its own are done', async () => {
  const { model } = scripted({ segments: 1 });
  const engine = createEngine([model], { slots: 2 });
  const order: string[] = [];
  const page = engine.submit({
    rows: Array.from({ length: 40 }, (_, i) => ({ ids: [i], picture: picture(0) })),
    eosId: null,
    maxNewTokens: 3,
    onRow: (index) => void order.push(`page ${index}`),
  });
  const line = engine.submit(request(9, { onRow: () => void order.push('line') }));
  await Promise.all([page, line]);
  assert.ok(order.indexOf('line') <= 3, order.join(', '));
  assert.equal(order.length, 41);
});

test('lines of different pages go through tower and prefill together', async () => {
  const { model, events } = scripted({ segments: 1, towerImages: 8 });
  const engine = createEngine([model], { slots: 8 });
  const pages = [0, 1].map((page) =>
    engine.submit({
      rows: Array.from({ length: 4 }, (_, i) => ({ ids: [10 * page + i], picture: picture(0) })),
      eosId: null,
      maxNewTokens: 2,
    }),
  );
  await Promise.all(pages);
  assert.deepEqual(events.log, ['tower.0 8', 'fill 0+8', 'step 8/8']);
});

test('pictures of one shape go through the tower together; tasks that have others only keep their turn', async () => {
  const { model, events } = scripted({ segments: 1, towerImages: 2 });
  const engine = createEngine([model], { slots: 12 });
  const drawn: number[][] = [];
  const wide = (shift: number, width: number): RowPicture => ({
    shape: [1, width],
    draw: (into) => {
      drawn.push([into.length, shift]);
      into.fill(shift);
    },
  });
  const widths = [
    [1, 2, 1, 2],
    [2, 2],
    [2, 1, 2],
  ];
  const results = await Promise.all(
    widths.map((of, task) => {
      const rows = of.map((width, i) => ({ ids: [10 * task], picture: wide(4 * task + i, width) }));
      return engine.submit({ rows, eosId: null, maxNewTokens: 1 });
    }),
  );
  results.forEach(({ rows }, task) => {
    assert.deepEqual(
      rows.map(({ tokens }) => tokens),
      widths[task].map((_, i) => [10 * task + 1 + 4 * task + i]),
    );
  });
  // The first task's first row decides; in turn, what has its width. The second task was passed over, and is the next.
  assert.deepEqual(drawn, [
    [1, 0],
    [1, 9],
    [2, 4],
    [2, 1],
    [2, 8],
    [2, 5],
    [1, 2],
    [2, 10],
    [2, 3],
  ]);
  assert.deepEqual(
    events.log.filter((event) => event.startsWith('tower')),
    ['tower.0 2', 'tower.0 2', 'tower.0 2', 'tower.0 1', 'tower.0 2'],
  );
});

test('of a draft, what the decoder would have said itself is taken at once; then it goes on in steps', async () => {
  // From 10, in steps of one more than the shift: right to the end, wrong at the third, wrong at once, nothing, and too long.
  const drafts = [
    [11, 12, 13, 14],
    [12, 14, 15, 18],
    [9],
    [],
    Array.from({ length: 40 }, (_, i) => (10 + 5 * (i + 1)) % 50),
  ];
  const { model, events } = scripted({ segments: 1, towerImages: 8, drafts: (shift) => drafts[shift] });
  const engine = createEngine([model], { slots: 8 });
  const rows = drafts.map((_, shift) => ({ ids: [10], picture: picture(shift) }));
  const seen: number[][] = rows.map(() => []);
  const onToken = (row: number, token: number) => {
    seen[row].push(token);
    return undefined;
  };
  const result = await engine.submit({ rows, eosId: null, maxNewTokens: 6, onToken });
  const wanted = drafts.map((_, shift) =>
    Array.from({ length: 6 }, (_, t) => (10 + (shift + 1) * (t + 1)) % vocabulary),
  );
  assert.deepEqual(
    result.rows.map(({ tokens }) => tokens),
    wanted,
  );
  assert.deepEqual(seen, wanted);
  assert.deepEqual(events.log, [
    'tower.0 5',
    'fill 0+5',
    'accept 0: 4',
    'accept 1: 2',
    'step 4/4',
    'step 3/4',
    'step 3/4',
    'step 2/4',
    'step 2/4',
  ]);
});

test('a row may end within its draft, and nothing is taken after its end', async () => {
  const { model, events } = scripted({ segments: 1, maxPositions: 6, drafts: () => [11, 12, 13, 14, 15, 16, 17] });
  const engine = createEngine([model], { slots: 2 });
  const ended = await tokensOf(engine.submit(request(10, { eosId: 12, maxNewTokens: 9 })));
  assert.deepEqual(ended, [[11, 12]]);
  const one = await tokensOf(engine.submit(request(10, { maxNewTokens: 1 })));
  assert.deepEqual(one, [[11]]);
  // One position is the prompt's, and the last token needs none.
  const full = await tokensOf(engine.submit(request(10, { maxNewTokens: 9 })));
  assert.deepEqual(full, [[11, 12, 13, 14, 15, 16]]);
  assert.ok(!events.log.some((event) => event.startsWith('step')), events.log.join(', '));
  // One less than there is room for: nothing comes after the last.
  assert.deepEqual(events.drafted, [5, 0, 5]);
});

test('nothing of a draft is taken once its request was aborted or has failed', async () => {
  for (const end of ['abort', 'throw'] as const) {
    const { model } = scripted({ segments: 1, drafts: () => [11, 12, 13, 14, 15] });
    const engine = createEngine([model], { slots: 2 });
    const controller = new AbortController();
    const seen: number[] = [];
    const onToken = (_: number, token: number) => {
      seen.push(token);
      if (seen.length < 2) return undefined;
      if (end === 'throw') throw new Error('mine');
      controller.abort();
      return undefined;
    };
    const onRow = () => assert.fail('of a request that has ended');
    const rows = [{ ids: [10], picture: picture(0) }];
    const given = { rows, eosId: null, maxNewTokens: 9, onToken, signal: controller.signal };
    const result = engine.submit(end === 'throw' ? { ...given, onRow } : given);
    if (end === 'throw') await assert.rejects(result, /mine/);
    else assert.deepEqual((await result).rows[0].tokens, [11, 12]);
    assert.deepEqual(seen, [11, 12]);
  }
});

test('drafts count among what one prefill takes', async () => {
  const { model, events } = scripted({
    segments: 1,
    towerImages: 4,
    maxPositions: 4000,
    drafts: (shift) => Array<number>(shift).fill(1),
  });
  const engine = createEngine([model], { slots: 4 });
  const rows = [900, 900, 900, 10].map((shift) => ({ ids: [10], picture: picture(shift) }));
  await engine.submit({ rows, eosId: null, maxNewTokens: 950 });
  const fills = events.log.filter((event) => event.startsWith('fill'));
  assert.deepEqual(fills, ['fill 0+2', 'fill 2+2']);
});

for (const stage of ['tower.0', 'tower.1', 'fill', 'step'] as const) {
  test(`an abort in ${stage} frees the place within one step; the others go on as before`, async () => {
    const { model, events } = scripted();
    const engine = createEngine([model], { slots: 2 });
    const controller = new AbortController();
    const other = engine.submit(request(20, { maxNewTokens: 12 }));
    let seen = 0;
    let stepsAfter = 0;
    events.before = (event) => {
      if (controller.signal.aborted && event.startsWith('step')) stepsAfter++;
      // The second of the stage is that of the second request, or a step in which it takes part.
      if (event.startsWith(stage) && ++seen === (stage === 'step' ? 6 : 2)) controller.abort();
    };
    const stopped = engine.submit(request(0, { signal: controller.signal, maxNewTokens: 40 }));
    const { rows } = await stopped;
    assert.equal(rows[0].finishReason, 'aborted');
    assert.ok(stepsAfter <= 1, `${stepsAfter} steps until the place was free`);
    assert.ok(engine.load().usedSlots <= 1);
    assert.deepEqual(await tokensOf(other), [Array.from({ length: 12 }, (_, t) => 21 + t)]);
    assert.deepEqual(engine.load(), { slots: 2, usedSlots: 0, running: 0, waiting: 0 });
  });
}

test('a hundred aborts in each stage, all mixed: nothing is left behind, and nobody else notices', async () => {
  const { model, events } = scripted({ segments: 3 });
  const engine = createEngine([model], { slots: 4, maxWaiting: 1000 });
  const rng = createRng(7, 7);
  const running = new Set<AbortController>();
  const aborted = new Map<string, number>();
  events.before = (event) => {
    const [stage] = event.split(/[. ]/);
    const [controller] = running;
    if (!controller || rng.next() < 0.5) return;
    running.delete(controller);
    controller.abort();
    aborted.set(stage, (aborted.get(stage) ?? 0) + 1);
  };
  const stopped = async (start: number) => {
    const controller = new AbortController();
    running.add(controller);
    await engine.submit(request(start % 40, { signal: controller.signal, maxNewTokens: 20 }));
    running.delete(controller);
  };
  const whole = async (start: number) => {
    const [tokens] = await tokensOf(engine.submit(request(start % 40, { maxNewTokens: 6 })));
    assert.deepEqual(
      tokens,
      Array.from({ length: 6 }, (_, t) => ((start % 40) + 1 + t) % vocabulary),
    );
  };
  const worker = async (first: number, count: number) => {
    for (let i = 0; i < count; i++) await Promise.all([stopped(first + i), i % 4 === 0 && whole(first + i)]);
  };
  await Promise.all(Array.from({ length: 8 }, (_, i) => worker(i, 130)));
  for (const stage of ['tower', 'fill', 'step'])
    assert.ok((aborted.get(stage) ?? 0) >= 100, JSON.stringify([...aborted]));
  assert.deepEqual(engine.load(), { slots: 4, usedSlots: 0, running: 0, waiting: 0 });
});

test('what waits is gone at once when it is aborted', async () => {
  const { model } = scripted();
  const engine = createEngine([model], { slots: 1, maxWaiting: 3 });
  const first = engine.submit(request(0, { maxNewTokens: 20 }));
  const controller = new AbortController();
  const waiting = engine.submit(request(1, { signal: controller.signal }));
  assert.equal(engine.load().waiting, 2);
  controller.abort();
  assert.equal(engine.load().waiting, 1);
  assert.deepEqual((await waiting).rows[0].tokens, []);
  await first;
  const late = await engine.submit(request(2, { signal: controller.signal }));
  assert.equal(late.rows[0].finishReason, 'aborted');
});

test('more than may wait is refused, the rest is not touched', async () => {
  const { model } = scripted();
  const engine = createEngine([model], { slots: 1, maxWaiting: 2 });
  const taken = [0, 1].map((start) => engine.submit(request(start)));
  await assert.rejects(engine.submit(request(2)), OverloadedError);
  assert.equal((await Promise.all(taken)).length, 2);
  assert.deepEqual(await tokensOf(engine.submit(request(3))), [[4, 5, 6, 7]]);
});

test('a request whose time is over ends with an error, wherever it is', async () => {
  const { model } = scripted();
  const engine = createEngine([model], { slots: 1 });
  const running = engine.submit(request(0, { maxNewTokens: 40 }));
  await assert.rejects(engine.submit(request(1, { deadline: performance.now() - 1 })), DeadlineError);
  assert.equal((await running).rows[0].tokens.length, 40);
});

test('a run that fails takes only its own request with it', async () => {
  const { model, events } = scripted();
  const engine = createEngine([model], { slots: 2 });
  let towers = 0;
  events.before = (event) => {
    if (event === 'tower.1 1' && ++towers === 1) throw new Error('no memory');
  };
  const broken = engine.submit(request(0));
  const whole = engine.submit(request(5));
  await assert.rejects(broken, /no memory/);
  assert.deepEqual(await tokensOf(whole), [[6, 7, 8, 9]]);
});

test('a callback that throws, and a picture that cannot be drawn, end their own request', async () => {
  const { model } = scripted({ towerImages: 2 });
  const engine = createEngine([model], { slots: 2 });
  const fail = () => {
    throw new InputError('not today');
  };
  const undrawable: RowPicture = { shape: [1, 1], draw: fail };
  const bad = [request(0, { onToken: fail }), request(0, { rows: [{ ids: [1], picture: undrawable }] })];
  const [first, second, good] = await Promise.allSettled([...bad, request(5)].map(engine.submit));
  assert.ok(first.status === 'rejected' && first.reason instanceof InputError);
  assert.ok(second.status === 'rejected' && second.reason instanceof InputError);
  assert.ok(good.status === 'fulfilled');
  await assert.rejects(engine.submit(request(0, { rows: [] })), InputError);
  await assert.rejects(engine.submit(request(0, { rows: [{ ids: Array(65).fill(1) }] })), /65 tokens/);
  await assert.rejects(engine.submit(request(0, { maxNewTokens: 0 })), InputError);
});

test('a closing engine ends what it has and takes no more', async () => {
  const { model } = scripted();
  const engine = createEngine([model], { slots: 1 });
  const last = engine.submit(request(0));
  const closed = engine.close();
  await assert.rejects(engine.submit(request(1)), OverloadedError);
  await closed;
  assert.deepEqual(await tokensOf(last), [[1, 2, 3, 4]]);
});

test('lanes share the work, run beside each other, and give each row what it gets alone', async () => {
  const running = new Set<string>();
  let together = 0;
  const lanes = ['a', 'b', 'c'].map((lane) => {
    const { model, events } = scripted({ towerImages: 4 });
    events.before = async () => {
      running.add(lane);
      together = Math.max(together, running.size);
      await new Promise((done) => setTimeout(done, 1));
      running.delete(lane);
    };
    return { model, events };
  });
  const engine = createEngine(
    lanes.map(({ model }) => model),
    { slots: 7 },
  );
  assert.equal(engine.load().slots, 7);
  const rows = Array.from({ length: 20 }, (_, i) => ({ ids: [i], picture: picture(i % 3) }));
  const [page, line] = await Promise.all([
    engine.submit({ rows, eosId: null, maxNewTokens: 5 }),
    tokensOf(engine.submit(request(0))),
  ]);
  for (const [i, { tokens }] of page.rows.entries()) {
    const step = 1 + (i % 3);
    assert.deepEqual(
      tokens,
      Array.from({ length: 5 }, (_, t) => (i + (t + 1) * step) % vocabulary),
    );
  }
  assert.deepEqual(line, [[1, 2, 3, 4]]);
  assert.equal(together, 3);
  assert.deepEqual(engine.load(), { slots: 7, usedSlots: 0, running: 0, waiting: 0 });
  await engine.close();
  for (const { events } of lanes) assert.equal(events.log.at(-1), 'dispose');
});

test('an idle lane keeps its cache for the next request, and not for long', async ({ mock }) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const { model, events } = scripted();
  const engine = createEngine([model]);
  const disposed = () => events.log.filter((event) => event === 'dispose').length;
  const readOne = async () => {
    assert.deepEqual(await tokensOf(engine.submit(request(0))), [[1, 2, 3, 4]]);
    // The lane finds nothing more to do.
    await new Promise(setImmediate);
  };
  await readOne();
  mock.timers.tick(9_000);
  await readOne();
  mock.timers.tick(9_000);
  assert.equal(disposed(), 0);
  mock.timers.tick(1_000);
  assert.equal(disposed(), 1);
  await readOne();
  await engine.close();
  assert.equal(disposed(), 2);
  mock.timers.tick(20_000);
  assert.equal(disposed(), 2);
});

test('a request that ends in one lane leaves all of them', async () => {
  const lanes = [scripted(), scripted()];
  const engine = createEngine(
    lanes.map(({ model }) => model),
    { slots: 2 },
  );
  const controller = new AbortController();
  const rows = [0, 1].map((start) => ({ ids: [start], picture: picture(0) }));
  const stopped = engine.submit({ rows, eosId: null, maxNewTokens: 40, signal: controller.signal });
  lanes[0].events.before = (event) => {
    if (event.startsWith('step')) controller.abort();
  };
  const result = await stopped;
  assert.deepEqual(
    result.rows.map(({ finishReason }) => finishReason),
    ['aborted', 'aborted'],
  );
  assert.deepEqual(await tokensOf(engine.submit(request(3))), [[4, 5, 6, 7]]);
  assert.deepEqual(await tokensOf(engine.submit({ ...request(0), rows })), [
    [1, 2, 3, 4],
    [2, 3, 4, 5],
  ]);
  for (const { events } of lanes) assert.ok(events.log.some((event) => event.startsWith('step')));
});

test('there are no more lanes than slots', async () => {
  const lanes = [scripted(), scripted()];
  const engine = createEngine(
    lanes.map(({ model }) => model),
    { slots: 1 },
  );
  await Promise.all([1, 2].map((start) => engine.submit(request(start))));
  assert.deepEqual(lanes[1].events.log, []);
});

test('closing waits for lanes that are woken meanwhile, and none keeps a cache', async () => {
  const lanes = [scripted({ towerImages: 2 }), scripted({ towerImages: 2 })];
  const engine = createEngine(
    lanes.map(({ model }) => model),
    { slots: 4 },
  );
  // The second lane's rows end long before the first's, which are tried again in both: one for long.
  const again = [{ ids: [20], maxNewTokens: 30 }, { ids: [9] }];
  let closing: Promise<void> | undefined;
  const reading = engine.submit({
    rows: [5, 5, 10, 10].map((start) => ({ ids: [start], picture: picture(0) })),
    eosId: 12,
    maxNewTokens: 10,
    onRow: (index, { tokens }) => {
      if (index > 1 || tokens.length !== 7) return undefined;
      closing ??= engine.close();
      return { ...again[index], picture: picture(0) };
    },
  });
  const { rows } = await reading;
  assert.deepEqual(
    rows.map(({ tokens }) => tokens.length),
    [30, 3, 2, 2],
  );
  await closing;
  for (const { events } of lanes) assert.equal(events.log.at(-1), 'dispose');
});
