/**
 * Search among many clustered unit vectors, ours and faiss's side by side: node dist/bench/search.js PYTHON [count] [rounds]. PYTHON
 * has `pip install faiss-cpu numpy`; `-` leaves faiss out. Every figure is a median over interleaved queries, one at a time.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createRng, type Rng } from '../src/core/rng.js';
import { createRuntime } from '../src/node/ort/runtime.js';
import { openFlatStore } from '../src/node/search/flat-store.js';
import { createProductKernel } from '../src/search/kernel.js';
import type { Row, VectorStore } from '../src/search/store.js';

const [python = '-', countText = '1000000', roundsText = '100'] = process.argv.slice(2);
const [count, rounds] = [Number(countText), Number(roundsText)];
const dimension = 512;
const threads = 2;
const top = 10;
const probes = [8, 16, 32, 64];

/**
 * Clusters as pictures of one subject make them, 100 vectors each on average, and those of one theme near each other: the cosine is
 * about 0.7 to the cluster's centre, 0.5 to another of the cluster, 0.25 to one of the theme, 0 to the rest.
 */
function createClusters(seed: number, clusters: number, themes = 300) {
  const rng = createRng(seed);
  const around = (centre: Float32Array, random: Rng) => unit(noise(random).map((x, d) => x + centre[d]));
  const themeCentres = Array.from({ length: themes }, () => unit(noise(rng)));
  const centres = Array.from({ length: clusters }, (_, i) => around(themeCentres[i % themes], rng));
  return {
    near: (random: Rng): Float32Array => around(centres[random.integer(0, clusters)], random),
    /** What a text is to pictures: near none of them, a little nearer to those of one theme. */
    far: (random: Rng): Float32Array => around(themeCentres[random.integer(0, themes)], random),
  };
}

/** About normal, of length about 1: the sum of four bytes. */
function noise(rng: Rng): Float32Array {
  const scale = 1 / (147.8 * Math.sqrt(dimension));
  return Float32Array.from({ length: dimension }, () => {
    const word = rng.nextUint32();
    return ((word & 255) + ((word >>> 8) & 255) + ((word >>> 16) & 255) + (word >>> 24) - 510) * scale;
  });
}

function unit(vector: Float32Array): Float32Array {
  let squares = 0;
  for (const x of vector) squares += x * x;
  const length = Math.sqrt(squares);
  return vector.map((x) => x / length);
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1];
const high = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.95)];
const seconds = (since: number) => ((performance.now() - since) / 1000).toFixed(1);
const say = (text: string) => process.stdout.write(`${text}\n`);
const size = (...files: string[]) =>
  `${(files.reduce((sum, file) => sum + statSync(file).size, 0) / 1e6).toFixed(0)} MB`;

interface Answer {
  readonly ms: number;
  readonly ids: readonly number[];
}

/** faiss in a process of its own, which reads the same vectors; it answers a line with a line. */
async function startFaiss(vectors: string) {
  const script = fileURLToPath(new URL('../../bench/search_reference.py', import.meta.url));
  const args = [script, vectors, String(dimension), String(threads)];
  const child = spawn(python, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  say(`faiss: ${(await lines.next()).value}`);
  return {
    ask: async (kind: string, query: Float32Array, nprobe: number): Promise<Answer> => {
      child.stdin.write(`${JSON.stringify({ kind, nprobe, query: [...query] })}\n`);
      return JSON.parse(String((await lines.next()).value)) as Answer;
    },
    stop: () => child.kill(),
  };
}

const dir = mkdtempSync(join(tmpdir(), 'varyclip-bench-'));
const kernel = createProductKernel(createRuntime({ threads }), dimension);
const open = (listProbes: number) =>
  openFlatStore(dir, { dimension, kernel, write: true, listsFrom: 1000, probes: listProbes });
try {
  const draw = createClusters(7, Math.max(1, Math.round(count / 100)));
  const rng = createRng(8);
  say(`${cpus()[0].model}, ${threads} threads, load ${loadavg()[0].toFixed(2)}; ${count} vectors of ${dimension}`);
  let began = performance.now();
  const store = open(32);
  for (let at = 0; at < count; at += 8192) {
    const rows = Array.from({ length: Math.min(8192, count - at) }, (_, i): Row => {
      const info = { path: `${at + i}`, size: 1, modified: 0, sha256: '', width: 1, height: 1 };
      return { info, vector: draw.near(rng) };
    });
    await store.add(rows);
  }
  say(`drawn and stored in ${seconds(began)} s`);
  began = performance.now();
  await store.optimize();
  say(`lists made in ${seconds(began)} s, load ${loadavg()[0].toFixed(2)}`);
  await store.dispose();
  const lists = join(dir, `lists.0.${count}.bin`);
  say(
    `sizes: vectors ${size(join(dir, 'vectors.0.f32'))}, log ${size(join(dir, 'pictures.0.jsonl'))}, lists ${size(lists)}`,
  );
  began = performance.now();
  const stores: VectorStore[] = [];
  for (const listProbes of probes) stores.push(open(listProbes));
  say(`opened in ${(Number(seconds(began)) / probes.length).toFixed(2)} s`);
  const faiss = python === '-' ? undefined : await startFaiss(join(dir, 'vectors.0.f32'));

  const queries = Array.from({ length: rounds }, () => draw.near(rng));
  const figures = new Map<string, { times: number[]; found: number }>();
  const note = (name: string, { ms, ids }: Answer, truth: ReadonlySet<number>) => {
    const figure = figures.get(name) ?? { times: [], found: 0 };
    figures.set(name, figure);
    figure.times.push(ms);
    figure.found += ids.filter((id) => truth.has(id)).length;
  };
  const ask = async (index: number, query: Float32Array, exact: boolean): Promise<Answer> => {
    const start = performance.now();
    const hits = await stores[index].search(query, { top, where: [], exact });
    return { ms: performance.now() - start, ids: hits.map(({ info }) => Number(info.path)) };
  };
  await ask(0, queries[0], true);
  for (const query of queries) {
    const exact = await ask(0, query, true);
    const truth = new Set(exact.ids);
    note('ours, exact', exact, truth);
    if (faiss) note('faiss IndexFlatIP', await faiss.ask('flat', query, 0), truth);
    for (const [i, nprobe] of probes.entries()) {
      note(`ours, ${nprobe} lists`, await ask(i, query, false), truth);
      if (!faiss) continue;
      note(`faiss IVFFlat, nprobe ${nprobe}`, await faiss.ask('ivf', query, nprobe), truth);
      note(`faiss IVF SQ8, nprobe ${nprobe}`, await faiss.ask('sq8', query, nprobe), truth);
    }
  }
  for (let i = 0; i < rounds; i++) {
    const query = draw.far(rng);
    const truth = new Set((await ask(0, query, true)).ids);
    for (const [p, nprobe] of probes.entries()) {
      note(`far query: ours, ${nprobe} lists`, await ask(p, query, false), truth);
      if (faiss) note(`far query: faiss IVFFlat, nprobe ${nprobe}`, await faiss.ask('ivf', query, nprobe), truth);
    }
  }
  faiss?.stop();
  say(`load ${loadavg()[0].toFixed(2)}, ${rounds} queries\n`);
  say('| what | median ms | 95th ms | recall@10 |\n|---|---|---|---|');
  for (const [name, { times, found }] of [...figures].sort(([a], [b]) => (a < b ? -1 : 1))) {
    say(`| ${name} | ${median(times).toFixed(1)} | ${high(times).toFixed(1)} | ${(found / rounds / top).toFixed(3)} |`);
  }
  for (const each of stores) await each.dispose();
} finally {
  await kernel.dispose();
  rmSync(dir, { recursive: true, force: true });
}
