// Format, lint, types and unit tests: what must be clean before a commit. Under 15 seconds.
import { spawnSync } from 'node:child_process';

const steps = [
  ['biome', 'check', '--error-on-warnings', '.'],
  ['tsc', '-b', 'tsconfig.test.json', 'tsconfig.web.json'],
  ['node', 'scripts/test.js', 'unit', '--', '--test-reporter=dot'],
];
for (const [command, ...args] of steps) {
  const binary = command === 'node' ? process.execPath : `node_modules/.bin/${command}`;
  const { status } = spawnSync(binary, args, { stdio: 'inherit', shell: process.platform === 'win32' });
  if (status !== 0) process.exit(status ?? 1);
}
