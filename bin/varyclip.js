#!/usr/bin/env node
import { existsSync } from 'node:fs';

const main = new URL('../dist/src/cli/main.js', import.meta.url);
if (existsSync(main)) {
  await import(main.href);
} else {
  process.stderr.write('varyclip: not built yet (install scripts were off). Run: npm run build\n');
  process.exitCode = 1;
}
