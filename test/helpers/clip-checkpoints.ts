import { copyFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fixturePath } from './fixtures.js';

/** A folder that is removed after the tests. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'varyclip-test-'));
  after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function copyInto(dir: string, fixture: string): void {
  for (const name of readdirSync(fixturePath(fixture)))
    copyFileSync(fixturePath(`${fixture}/${name}`), join(dir, name));
}

/** A CLIP checkpoint of the fixtures with its tokenizer beside it. */
export function withTokenizer(checkpoint: string): string {
  const dir = temporaryFolder();
  copyInto(dir, checkpoint);
  copyInto(dir, 'clip/tokenizer');
  return dir;
}
