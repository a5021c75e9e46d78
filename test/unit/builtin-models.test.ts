import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { findBuiltin } from '../../src/node/builtin-models.js';

test('a built-in model is found where it is whole; where it is not, that is said', (context) => {
  const root = mkdtempSync(join(tmpdir(), 'varyclip-'));
  context.after(() => rmSync(root, { recursive: true }));
  assert.equal(findBuiltin('org/vary-nano', root), undefined);
  const folder = join(root, 'vary-nano');
  const lacks = (file: string) => (error: Error) => {
    assert.match(error.message, new RegExp(`^vary-nano: .*without the built-in model .* has no ${file}\\); name a`));
    return error instanceof InputError;
  };
  assert.throws(() => findBuiltin('vary-nano', root), lacks('config.json'));
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.json'), '{}');
  assert.throws(() => findBuiltin('vary-nano', root), lacks('model.safetensors'));
  writeFileSync(join(folder, 'model.safetensors'), '');
  assert.equal(findBuiltin('vary-nano', root), folder);
});
