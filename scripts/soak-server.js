// A server under load and under attack, on loopback: node scripts/soak-server.js [PHASE…] [--seconds N] [--model DIR]
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

/** Clients that ask again as soon as they have an answer, and wait as they are told where they are refused. */
async function closedLoop(server, clients, duration) {
  const end = performance.now() + 1000 * duration;
  const statuses = new Map();
  const texts = new Set();
  const latencies = [];
  const post = () =>
    fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (performance.now() < end) {
        const started = performance.now();
        const response = await post();
        statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
        const answer = await response.json();
        if (response.status === 200) {
          latencies.push(performance.now() - started);
          texts.add(answer.choices[0].message.content);
        } else await sleep(1000 * Number(response.headers.get('retry-after') ?? Number.NaN));
      }
    }),
  );
  latencies.sort((a, b) => a - b);
  const figures = {
    clients,
    perSecond: latencies.length / duration,
    p95: latencies[Math.floor(latencies.length * 0.95)],
    statuses: Object.fromEntries(statuses),
    pause: await server.metric('event_loop_delay_max_seconds'),
    rss: await memoryOf(server),
  };
  expect(texts.size === 1, `${clients} clients got ${texts.size} different texts`);
  expect(
    [...statuses.keys()].every((status) => [200, 429, 503].includes(status)),
    JSON.stringify(figures.statuses),
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
  const slope = (1000 * slopeOf(samples)) / (60 * many.perSecond);
  show('memory', { mibPerThousandAnswers: slope, goal: 1, samples: samples.length });
  expect(slope < 1, `memory grows by ${slope.toFixed(2)} MiB with a thousand answers`);
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
  const release = await attack(Number(new URL(server.url).port));
  const attacked = await closedLoop(server, 8, seconds);
  release();
  await sleep(1000);
  const ratio = attacked.p95 / alone.p95;
  show('eight good clients', { alone: alone.p95, attacked: attacked.p95, ratio, goal: 2, statuses: attacked.statuses });
  expect(ratio < 2, `p95 of good clients is ${ratio.toFixed(2)} times that without bad ones, 2 or more`);
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

/** Clients that never end their heads or bodies, and come again where the server lets go of them; and some that never read. */
async function attack(port) {
  const head = 'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
  const streaming = JSON.stringify({ messages, max_tokens: 16, stream: true });
  const kinds = [
    { first: 'POST /v1/chat/completions HTTP/1.1\r\nHost: loc', drip: 'a' },
    { first: `${head}Content-Length: 1000000\r\n\r\n{"messages":`, drip: ' ' },
    { first: `${head}Content-Length: ${streaming.length}\r\n\r\n${streaming}`, deaf: true },
  ];
  const open = new Set();
  let over = false;
  const begin = ({ first, drip, deaf }) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(first));
    if (deaf) socket.pause();
    const timer = drip && setInterval(() => socket.writable && socket.write(drip), 1000);
    open.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearInterval(timer);
      open.delete(socket);
      if (!over && drip) setTimeout(() => over || begin({ first, drip }), 500);
    });
  };
  for (let i = 0; i < 500; i++) {
    kinds.forEach(begin);
    if (i % 50 === 0) await sleep(20);
  }
  return () => {
    over = true;
    for (const socket of open) socket.destroy();
  };
}

const model = values.model ?? at('examples/tiny-vary');
for (const name of chosen) {
  const server = await startServerProcess(['--model', model, '--threads', values.threads ?? '1']);
  console.log(`# ${name}`);
  await phases[name](server);
  const code = await server.stop();
  expect(code === 0, `the server ended with ${code}`);
}
for (const problem of problems) console.log(`problem: ${problem}`);
console.log(problems.length === 0 ? 'ok' : 'failed');
process.exit(problems.length === 0 ? 0 : 1);
