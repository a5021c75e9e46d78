// Compiles kernels/pixels.ts with AssemblyScript into src/image/kernels-wasm.ts, which is checked in: the compiler takes 100 MB, is
// wanted only where a kernel changes, and comes by npx then. A test compares the hash of source and code.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [source, target] = ['kernels/pixels.ts', 'src/image/kernels-wasm.ts'];
const compiler = 'assemblyscript@0.28.20';
const scratch = mkdtempSync(join(tmpdir(), 'varyclip-kernels-'));
try {
  const out = join(scratch, 'pixels.wasm');
  const options = ['--enable', 'simd', '--runtime', 'stub', '--noAssert', '-O3', '--converge', '--outFile', out];
  const command = ['--yes', '--package', compiler, 'asc', source, ...options];
  execFileSync('npx', command, { stdio: 'inherit', shell: process.platform === 'win32' });
  const code = readFileSync(out).toString('base64');
  const hash = createHash('sha256').update(readFileSync(source)).update(code).digest('hex');
  writeFileSync(
    target,
    `// Generated from ${source} by ${compiler}: npm run kernels.\n/** Of the source and the code. */\nexport const hash = '${hash}';\nexport const code =\n  '${code}';\n`,
  );
} finally {
  rmSync(scratch, { recursive: true });
}
