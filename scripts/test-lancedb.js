// The store on a real LanceDB, which is installed in a folder of its own (163 MB) and removed again.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const packages = ['@lancedb/lancedb@0.30.0', 'apache-arrow@18.1.0'];
const dir = mkdtempSync(join(tmpdir(), 'varyclip-lancedb-'));
const shell = process.platform === 'win32';
let status = 1;
try {
  writeFileSync(join(dir, 'package.json'), '{}');
  const install = ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...packages];
  status = spawnSync('npm', install, { cwd: dir, stdio: 'inherit', shell }).status ?? 1;
  if (status === 0) {
    const program = ['--enable-source-maps', 'dist/test/lancedb/store.js', dir];
    status = spawnSync(process.execPath, program, { stdio: 'inherit' }).status ?? 1;
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}
process.exit(status);
