import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scratchDir } from '../helpers/checkpoints.js';
import { readThroughKills } from '../helpers/read-through-kills.js';

test('a reading that is killed a dozen times reads every page once and writes the files of one that was never killed', async () => {
  assert.ok((await readThroughKills(scratchDir(), 24, 12, 1)) >= 1);
});
