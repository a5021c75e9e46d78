// A server under load and under attack, on loopback: npm run soak -- [PHASE…] [--seconds N] [--model DIR]
//   load      closed-loop clients, 32 and 128 in turn: throughput, texts, memory, the longest pause of the event loop
//   overload  128 clients for a long time against 32 before and after: throughput, how fast memory grows
//   hostile   eight good clients, first alone, then while 1,500 bad ones hold connections
// Without a phase: load and hostile. --seconds is of one measurement (20; overload 300, hostile 60). A miss is exit code 1.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startServerProcess } from '../dist/bench/server-process.js';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string' }, model: { type: 'string' }, threads: { type: 'string' } },
});
const phases = { load, overload, hostile };
const chosen = positionals.length === 0 ? ['load', 'hostile'] : positionals;
const unknown = chosen.find((name) => !Object.hasOwn(phases, name));
const asked = values.seconds === undefined ? undefined : Number(values.seconds);
if (unknown !== undefined || (asked !== undefined && !(asked > 0))) {
  console.error(`expected some of ${Object.keys(phases).join(', ')} and --seconds above 0`);
  process.exit(2);
}

const image = readFileSync(at('test/fixtures/vary-tiny/e2e.png'));
const url = `data:image/png;base64,${image.toString('base64')}`;
const messages = [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }];
const body = JSON.stringify({ messages, max_tokens: 16 });

/**
 * Clients that ask again as soon as they have an answer, and wait as they are told where they are refused: the time of an answer is
 * that from the first asking on. Every answer counts by its status; one that does not come is 'none'.
 */
async function closedLoop(server, clients, duration) {
  const end = performance.now() + 1000 * duration;
  const statuses = {};
  const texts = new Set();
  const latencies = [];
  let [inTime, withoutRetryAfter, reason] = [0, 0];
  const post = () =>
    fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
  const ask = async (started) => {
    const response = await post();
    const answer = await response.json();
    statuses[response.status] = (statuses[response.status] ?? 0) + 1;
    if (response.status === 200) {
      if (performance.now() < end) inTime++;
      latencies.push(performance.now() - started);
      texts.add(answer.choices[0].message.content);
      return true;
    }
    const wait = Number(response.headers.get('retry-after') ?? Number.NaN);
    if ([429, 503].includes(response.status) && !(wait > 0)) withoutRetryAfter++;
    await sleep(1000 * (wait > 0 ? wait : 1));
    return false;
  };
  await Promise.all(
    Array.from({ length: clients }, async () => {
      let started = performance.now();
      while (performance.now() < end) {
        const done = await ask(started).catch((error) => {
          statuses.none = (statuses.none ?? 0) + 1;
          reason = error.cause ?? error;
          return sleep(100);
        });
        if (done) started = performance.now();
      }
    }),
  );
  latencies.sort((a, b) => a - b);
  const figures = {
    clients,
    perSecond: inTime / duration,
    p95: latencies[Math.floor(latencies.length * 0.95)],
    statuses,
    pause: await server.metric('event_loop_delay_max_seconds'),
    rss: await memoryOf(server),
  };
  expect(texts.size === 1, `${clients} clients got ${texts.size} different texts`);
  expect(withoutRetryAfter === 0, `${withoutRetryAfter} refusals without Retry-After`);
  expect(
    Object.keys(statuses).every((status) => ['200', '429', '503'].includes(status)),
    `${clients} clients got ${JSON.stringify(statuses)} ${reason ?? ''}`,
  );
  return figures;
}

/** In MiB. */
const memoryOf = async (server) => (await server.metric('resident_memory_bytes')) / 2 ** 20;

const problems = [];
function expect(ok, what) {
  if (!ok) problems.push(what);
}
function show(name, figures) {
  const short = (_, value) => (typeof value === 'number' ? Number(value.toFixed(3)) : value);
  console.log(name, JSON.stringify(figures, short));
}

/** Until the engine and its caches are as they stay. */
async function warmUp(server, seconds) {
  await closedLoop(server, 32, Math.min(5, seconds));
}

function expectThroughput(many, few) {
  show('128 clients against 32', { ratio: many / few, goal: 0.9 });
  expect(many >= 0.9 * few, `throughput of 128 clients is ${(many / few).toFixed(2)} of that of 32, below 0.9`);
}

async function load(server) {
  const seconds = asked ?? 20;
  await warmUp(server, seconds);
  const loads = [];
  for (const clients of [8, 32, 128, 32, 128]) {
    loads.push(await closedLoop(server, clients, seconds));
    show('load', loads.at(-1));
  }
  const best = (clients) => Math.max(...loads.filter((own) => own.clients === clients).map((own) => own.perSecond));
  expectThroughput(best(128), best(32));
  const [first, last] = [loads[1].rss, loads.at(-1).rss];
  expect(last - first < 64, `memory grew from ${first} to ${last} MiB`);
}

async function overload(server) {
  const seconds = asked ?? 300;
  await warmUp(server, seconds);
  const short = seconds / 5;
  const before = await closedLoop(server, 32, short);
  show('load', before);
  // Memory by time, after a fifth of it.
  const samples = [];
  const started = performance.now();
  const timer = setInterval(
    async () => {
      const minutes = (performance.now() - started) / 60_000;
      if (minutes * 60 > short) samples.push([minutes, await memoryOf(server)]);
    },
    Math.min(1000, 50 * seconds),
  );
  const many = await closedLoop(server, 128, seconds);
  clearInterval(timer);
  show('load', many);
  const after = await closedLoop(server, 32, short);
  show('load', after);
  expectThroughput(many.perSecond, (before.perSecond + after.perSecond) / 2);
  const lows = lowsOf(samples);
  const slope = (1000 * slopeOf(lows)) / (60 * many.perSecond);
  show('memory', { mibPerThousandAnswers: slope, goal: 1, lows: lows.map(([, mib]) => mib) });
  expect(slope < 1, `memory grows by ${slope.toFixed(2)} MiB with a thousand answers`);
}

/**
 * The lowest of up to twenty points in turn: what stays when the collector has been there. Between its turns memory goes up and down by 60
 * MiB, which is as much as would be allowed to be left in these minutes.
 */
function lowsOf(points) {
  const count = Math.max(1, Math.min(20, Math.floor(points.length / 4)));
  return Array.from({ length: Math.floor(points.length / count) }, (_, i) =>
    points.slice(count * i, count * (i + 1)).reduce((low, point) => (point[1] < low[1] ? point : low)),
  );
}

/** Of the line through points with the least squares. */
function slopeOf(points) {
  const mean = (of) => points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [x, y] = [mean(([a]) => a), mean(([, b]) => b)];
  return mean(([a, b]) => (a - x) * (b - y)) / mean(([a]) => (a - x) ** 2);
}

async function hostile(server) {
  const seconds = asked ?? 60;
  await warmUp(server, seconds);
  const alone = await closedLoop(server, 8, seconds);
  const attackers = await attack(Number(new URL(server.url).port));
  const attacked = await closedLoop(server, 8, seconds);
  const held = attackers.end();
  await sleep(1000);
  const ratio = attacked.p95 / alone.p95;
  show('bad clients open, on average', held);
  show('eight good clients', { alone: alone.p95, attacked: attacked.p95, ratio, goal: 2, statuses: attacked.statuses });
  expect(ratio < 2, `p95 of good clients is ${ratio.toFixed(2)} times that without bad ones, 2 or more`);
  for (const [kind, count] of Object.entries(held)) {
    expect(
      count >= 0.9 * eachKind,
      `of ${eachKind} bad clients with ${kind} only ${count.toFixed(0)} were there on average`,
    );
  }
  const left = {
    running: await server.metric('num_requests_running'),
    waiting: await server.metric('num_requests_waiting'),
    slots: await server.metric('slots_used'),
  };
  show('after', left);
  expect(
    Object.values(left).every((count) => count === 0),
    'requests are left of clients that went away',
  );
}

/** Bad clients of each kind. */
const eachKind = 500;
/** A connection that was answered rests so long, in seconds, until the server closes it; who does not read hears nothing of that. */
const answeredSeconds = 5;

/**
 * Clients that never end their heads or bodies, and some that never read: at first what a model says to them, then what takes no
 * work. All come again where the server lets go of them.
 */
async function attack(port) {
  const post = 'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
  const streaming = JSON.stringify({ messages, max_tokens: 16, stream: true });
  const kinds = {
    'slow heads': { send: 'POST /v1/chat/completions HTTP/1.1\r\nX-Long: ', drip: 'a' },
    'slow bodies': { send: `${post}Content-Length: 1000000\r\n\r\n{"messages":`, drip: ' ' },
    'unread answers': {
      send: `${post}Content-Length: ${streaming.length}\r\n\r\n${streaming}`,
      again: 'GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(20),
    },
  };
  const open = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, new Set()]));
  let over = false;
  const begin = (kind, { send, drip, again }) => {
    if (over) return;
    const socket = connect(port, '127.0.0.1', () => {
      open[kind].add(socket);
      socket.write(send);
    });
    const timers = [];
    if (drip) timers.push(setInterval(() => socket.writable && socket.write(drip), 1000));
    else {
      socket.pause();
      timers.push(setTimeout(() => socket.destroy(), 1000 * answeredSeconds * (1 + Math.random())));
    }
    socket.on('error', () => undefined);
    socket.on('close', () => {
      for (const timer of timers) clearTimeout(timer);
      open[kind].delete(socket);
      begin(kind, { send: again ?? send, drip, again });
    });
  };
  for (let i = 0; i < eachKind; i++) {
    for (const [kind, what] of Object.entries(kinds)) begin(kind, what);
    if (i % 50 === 0) await sleep(20);
  }
  const whole = () => Object.values(open).every(({ size }) => size === eachKind);
  for (let tries = 0; tries < 100 && !whole(); tries++) await sleep(50);
  const samples = [];
  const watch = setInterval(() => samples.push(Object.values(open).map(({ size }) => size)), 250);
  return {
    /** Lets go of all. Returns how many of each kind were open, on average. */
    end: () => {
      over = true;
      clearInterval(watch);
      for (const sockets of Object.values(open)) for (const socket of sockets) socket.destroy();
      const mean = (i) => samples.reduce((sum, sizes) => sum + sizes[i], 0) / samples.length;
      return Object.fromEntries(Object.keys(open).map((kind, i) => [kind, mean(i)]));
    },
  };
}

const model = values.model ?? at('examples/tiny-vary');
for (const name of chosen) {
  const server = await startServerProcess(['--model', model, '--threads', values.threads ?? '1']);
  console.log(`# ${name}`);
  await phases[name](server).catch((error) => expect(false, `${name}: ${error.stack}`));
  const code = await server.stop();
  expect(code === 0, `the server ended with ${code}`);
}
for (const problem of problems) console.log(`problem: ${problem}`);
console.log(problems.length === 0 ? 'ok' : 'failed');
process.exit(problems.length === 0 ? 0 : 1);
