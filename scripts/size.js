// Lines per folder, the largest files, number of ops and of dependencies: what a change adds, at a glance.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

const rows = {};
const files = [];
for (const name of readdirSync('src', { recursive: true })) {
  const path = join('src', name);
  if (!path.endsWith('.ts') || !statSync(path).isFile()) continue;
  const lines = readFileSync(path, 'utf8').split('\n').length - 1;
  const folder = name.includes('/') ? name.split('/')[0] : '.';
  rows[folder] = { files: (rows[folder]?.files ?? 0) + 1, lines: (rows[folder]?.lines ?? 0) + lines };
  files.push({ path, lines });
}
console.table(rows);
console.table(files.sort((a, b) => b.lines - a.lines).slice(0, 8));
const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
console.log(`dependencies: ${Object.keys(dependencies).join(', ')}`);
