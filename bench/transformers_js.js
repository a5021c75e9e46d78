// A vision tower in transformers.js, exported by `reference.py clip-b32 --export DIR`:
// node bench/transformers_js.js MODULES DIR BATCH THREADS, where MODULES has @huggingface/transformers. Prints its medians as JSON.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, folder, batch, threads] = process.argv.slice(2);
const entry = resolve(modules, '@huggingface/transformers/dist/transformers.node.mjs');
const { CLIPVisionModelWithProjection, Tensor, env } = await import(pathToFileURL(entry).href);
env.allowRemoteModels = false;
env.localModelPath = resolve(folder, '..');
const model = await CLIPVisionModelWithProjection.from_pretrained(folder.split('/').at(-1), {
  dtype: 'fp32',
  session_options: { intraOpNumThreads: Number(threads) },
});
const size = Number(batch) * 3 * 224 ** 2;
const pixels = Float32Array.from({ length: size }, (_, i) => ((Math.imul(i, 2654435761) >>> 16) % 256) / 64 - 2);
const inputs = { pixel_values: new Tensor('float32', pixels, [Number(batch), 3, 224, 224]) };
const times = [];
for (let i = 0; i < 18; i++) {
  const started = performance.now();
  await model(inputs);
  if (i >= 3) times.push(performance.now() - started);
}
times.sort((a, b) => a - b);
console.log(JSON.stringify({ millisecondsPerImage: times[times.length >> 1] / Number(batch) }));
