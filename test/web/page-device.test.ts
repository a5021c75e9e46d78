import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { loadModel } from '../../src/index.js';
import { openPage } from '../helpers/chromium.js';
import { startStaticSite } from '../helpers/static-site.js';

const site = startStaticSite('dist/page');

test('a static host is enough: the browser reads the example page to the text that Node reads', async () => {
  const model = await loadModel('vary-nano', { threads: 1 });
  assert.ok('read' in model);
  const expected = await model.read('examples/page.png').finally(() => model.dispose());
  const page = await openPage(await site.url);
  await page.locator('#where-server:disabled').waitFor();
  assert.equal(await page.evaluate('crossOriginIsolated'), false);
  const give = () =>
    page
      .locator('#file')
      .setInputFiles({ name: 'page.png', mimeType: 'image/png', buffer: readFileSync('examples/page.png') });
  await give();
  await page.locator('#download:enabled, #read-error:not([hidden])').first().waitFor();
  assert.equal(await page.locator('#read-error').textContent(), '');
  const texts = (expected.lines ?? []).map(({ text }) => text);
  assert.ok(texts.length > 10);
  assert.deepEqual(await page.locator('#text .words').allTextContents(), texts);
  assert.equal(await page.locator('#boxes rect').count(), texts.length);
  assert.ok(site.asked.includes('200 /models/vary-nano/model.safetensors'));
  const kept = await page.evaluate(
    `caches.open('varyclip').then((cache) => cache.keys()).then((all) => all.map(({ url }) => new URL(url).pathname))`,
  );
  assert.ok((kept as string[]).includes('/models/vary-nano/model.safetensors'));
  assert.ok(await page.locator('#tab-search').isHidden(), 'there is nothing to search');
});
