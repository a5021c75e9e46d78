import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readImageHeader } from '../../src/image/image-header.js';
import { decodeImage } from '../../src/node/images.js';
import { fixtureBytes, fixtureJson, fixturePath } from '../helpers/fixtures.js';

const folder = 'image-decode';
const { files } = fixtureJson<{ files: Record<string, { mode: string; tolerance: number }> }>(
  `${folder}/expected.json`,
);

test('the table is whole', () => {
  assert.ok(Object.keys(files).length >= 60);
});

for (const [name, { mode, tolerance }] of Object.entries(files)) {
  test(`${name} (${mode}): as Pillow's convert('RGB')`, async () => {
    const want = await decodeImage(fixturePath(`${folder}/${name}.expected.png`));
    const got = await decodeImage(fixtureBytes(`${folder}/${name}`));
    assert.deepEqual([got.width, got.height, got.channels], [want.width, want.height, 3]);
    let worst = 0;
    want.data.forEach((value, i) => {
      worst = Math.max(worst, Math.abs(value - got.data[i]));
    });
    assert.ok(worst <= tolerance, `differs by up to ${worst} levels, ${tolerance} allowed`);
    const header = readImageHeader(fixtureBytes(`${folder}/${name}`), name);
    assert.deepEqual([header.width, header.height].sort(), [want.width, want.height].sort());
    assert.equal(header.frames, /^(animated|pages)/.test(name) ? (name.includes('transparent') ? 2 : 3) : 1);
  });
}
