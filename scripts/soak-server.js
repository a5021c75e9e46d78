// A server under load and under attack, on loopback: node scripts/soak-server.js [SECONDS] [MODEL]
// Closed-loop clients (8, 32, 128), then eight good clients while 1,500 bad ones hold connections. Each phase takes SECONDS (20).
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const seconds = Number(process.argv[2] ?? 20);
const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const model = process.argv[3] ?? at('examples/tiny-vary');
const image = readFileSync(at('test/fixtures/vary-tiny/e2e.png'));
const body = JSON.stringify({
  messages: [
    {
      role: 'user',
      content: [{ type: 'image_url', image_url: { url: `data:image/png;base64,${image.toString('base64')}` } }],
    },
  ],
  max_tokens: 16,
});

const child = spawn(
  process.execPath,
  [at('bin/varyclip.js'), 'serve', '--model', model, '--port', '0', '--threads', '1'],
  {
    stdio: ['ignore', 'pipe', 'ignore'],
  },
);
const url = await new Promise((resolve) => child.stdout.once('data', (line) => resolve(String(line).trim())));
const { port } = new URL(url);
while ((await fetch(`${url}/health`)).status !== 200) await sleep(50);

async function metric(name) {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^varyclip_${name}(?:\\{.*\\})? (.*)$`, 'm').exec(text)?.[1] ?? Number.NaN);
}

const post = () =>
  fetch(`${url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });

/** Clients that ask again as soon as they have an answer, and wait as they are told where they are refused. */
async function closedLoop(clients, duration) {
  const end = performance.now() + 1000 * duration;
  const statuses = new Map();
  const texts = new Set();
  const latencies = [];
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
  const done = statuses.get(200) ?? 0;
  const p95 = latencies[Math.floor(latencies.length * 0.95)];
  return { clients, perSecond: done / duration, p95, statuses: Object.fromEntries(statuses), texts: texts.size };
}

const problems = [];
const expect = (ok, what) => {
  if (!ok) problems.push(what);
};
const show = (name, figures) =>
  console.log(
    name,
    JSON.stringify(figures, (_, value) => (typeof value === 'number' ? Number(value.toFixed(3)) : value)),
  );

await closedLoop(32, Math.min(5, seconds));
await metric('event_loop_delay_max_seconds');
const loads = new Map();
const memory = [];
for (const clients of [8, 32, 128, 32, 128]) {
  const load = await closedLoop(clients, seconds);
  const [pause, rss] = [
    await metric('event_loop_delay_max_seconds'),
    (await metric('resident_memory_bytes')) / 2 ** 20,
  ];
  show('load', { ...load, pause, rss });
  memory.push(rss);
  loads.set(clients, [...(loads.get(clients) ?? []), load.perSecond]);
  expect(load.texts === 1, `${clients} clients got ${load.texts} different texts`);
  expect(
    Object.keys(load.statuses).every((status) => ['200', '429', '503'].includes(status)),
    JSON.stringify(load.statuses),
  );
}
const best = (clients) => Math.max(...loads.get(clients));
show('128 clients against 32', { ratio: best(128) / best(32) });
expect(best(128) >= 0.9 * best(32), 'throughput of 128 clients is below 90 % of that of 32');
expect(memory.at(-1) - memory[1] < 64, `memory grew from ${memory[1]} to ${memory.at(-1)} MiB`);

const alone = await closedLoop(8, seconds);
const head = `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`;
const streaming = JSON.stringify({ ...JSON.parse(body), stream: true });
const bad = [];
const open = (first, drip) => {
  const socket = connect(Number(port), '127.0.0.1', () => socket.write(first));
  socket.on('error', () => undefined);
  const timer = drip && setInterval(() => !socket.destroyed && socket.write(drip), 1000);
  bad.push(() => {
    clearInterval(timer);
    socket.destroy();
  });
  return socket;
};
for (let i = 0; i < 500; i++) {
  open('POST /v1/chat/completions HTTP/1.1\r\nHost: loc', 'a');
  open(`${head}Content-Length: 1000000\r\n\r\n{"messages":`, ' ');
  open(`${head}Content-Length: ${streaming.length}\r\n\r\n${streaming}`).pause();
  if (i % 50 === 0) await sleep(20);
}
const attacked = await closedLoop(8, seconds);
show('eight good clients', {
  alone: alone.p95,
  attacked: attacked.p95,
  ratio: attacked.p95 / alone.p95,
  statuses: attacked.statuses,
});
expect(
  Object.keys(attacked.statuses).every((status) => ['200', '429', '503'].includes(status)),
  JSON.stringify(attacked.statuses),
);
expect((attacked.statuses[200] ?? 0) > 0, 'no good client was answered');
for (const close of bad) close();
await sleep(1000);
show('after', {
  running: await metric('num_requests_running'),
  waiting: await metric('num_requests_waiting'),
  slots: await metric('slots_used'),
});

child.kill('SIGTERM');
const code = await new Promise((resolve) => child.on('close', resolve));
expect(code === 0, `the server ended with ${code}`);
for (const problem of problems) console.log(`problem: ${problem}`);
console.log(problems.length === 0 ? 'ok' : 'failed');
process.exit(problems.length === 0 ? 0 : 1);
