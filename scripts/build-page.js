// Makes dist/page: the page as static files. `varyclip serve` serves them; any static host can.
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const out = join('dist', 'page');
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
for (const name of ['index.html', 'style.css', 'icon.svg']) cpSync(join('src', 'page', name), join(out, name));
// What reading on the device needs beside the scripts: ONNX Runtime's WebAssembly and the built-in reader.
const wasm = 'ort-wasm-simd-threaded.wasm';
cpSync(join('node_modules', 'onnxruntime-web', 'dist', wasm), join(out, wasm));
cpSync(join('models', 'vary-nano'), join(out, 'models', 'vary-nano'), { recursive: true });
await build({
  entryPoints: { main: join('src', 'page', 'main.ts'), 'device-worker': join('src', 'page', 'device-worker.ts') },
  outdir: out,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  sourcemap: false,
  legalComments: 'none',
  logLevel: 'warning',
});
