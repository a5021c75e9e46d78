import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { FileChooser, Page } from 'playwright-core';
import sharp from 'sharp';
import { loadModel } from '../../src/index.js';
import { openPage } from '../helpers/chromium.js';
import { startServer } from '../helpers/server.js';

const examplePage = 'examples/page.png';
const server = startServer({ models: ['vary-nano', 'clip-nano'] });
let url = '';

before(async () => {
  await server.loaded;
  ({ url } = await server.listen({ port: 0 }));
});

/** What a server would send while it reads. */
const events = (...data: readonly object[]) =>
  [...data.map((each) => JSON.stringify(each)), '[DONE]'].map((each) => `data: ${each}\n\n`).join('');

const line = (text: string, top: number, confidence = 0.99) => ({
  text,
  confidence,
  box: { left: 10, top, width: 200, height: 20 },
  paragraph: 0,
  block: 0,
});

/** A picture of a few lines, which is read quickly. */
const smallPage = () => sharp(examplePage).extract({ left: 0, top: 0, width: 1240, height: 420 }).png().toBuffer();

const give = (page: Page, name: string, buffer: Buffer) =>
  page.locator('#file').setInputFiles({ name, mimeType: 'image/png', buffer });

/** Answers /v1/read with what `body` says. */
const stubReading = (page: Page, lines: readonly ReturnType<typeof line>[]) =>
  page.route('**/v1/read*', (route) => {
    const text = lines.map((each) => each.text).join('\n');
    const whole = { object: 'reading', text, finish_reason: 'stop', warnings: [], lines };
    return route.fulfill({
      contentType: 'text/event-stream',
      body: events({ object: 'reading.text', text }, whole),
    });
  });

const textOf = (page: Page) => page.locator('#text .words').allTextContents();

test('the page reads a picture to the text that Node reads', async () => {
  const bytes = await smallPage();
  const model = await loadModel('vary-nano', { threads: 1 });
  assert.equal(model.kind, 'vary');
  assert.ok('read' in model);
  const expected = await model.read(bytes).finally(() => model.dispose());
  const page = await openPage(url);
  await give(page, 'small.png', bytes);
  await page.locator('#download:enabled').waitFor();
  const lines = expected.lines ?? [];
  assert.ok(lines.length >= 3);
  assert.deepEqual(
    await textOf(page),
    lines.map(({ text }) => text),
  );
  const boxes = page.locator('#boxes rect');
  assert.equal(await boxes.count(), lines.length);
  const { left, top, width, height } = lines[1].box;
  for (const [name, value] of Object.entries({ x: left, y: top, width, height })) {
    assert.equal(await boxes.nth(1).getAttribute(name), String(value));
  }
  assert.equal(await page.locator('#boxes').getAttribute('viewBox'), '0 0 1240 420');
  await page.locator('#copy').click();
  assert.equal(await page.evaluate('navigator.clipboard.readText()'), `${expected.text}\n`);
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('#download').click()]);
  assert.equal(download.suggestedFilename(), 'small.txt');
  await page.locator('#format').selectOption('hOCR');
  await page.locator('#copy').click();
  const hocr = String(await page.evaluate('navigator.clipboard.readText()'));
  assert.match(
    hocr,
    new RegExp(`class="ocr_line" id="line_1_2" title="bbox ${left} ${top} ${left + width} ${top + height}"`),
  );
  await page.locator('#format').selectOption('JSON');
  await page.locator('#copy').click();
  const json = JSON.parse(String(await page.evaluate('navigator.clipboard.readText()')));
  assert.deepEqual([json.pages[0].text, json.pages[0].width], [expected.text, 1240]);
  assert.deepEqual(page.errors, []);
});

test('a box and its line are marked together, both ways', async () => {
  const page = await openPage(url);
  await stubReading(page, [line('one', 10), line('two', 60, 0.4), line('three', 110)]);
  await give(page, 'small.png', await smallPage());
  await page.locator('#download:enabled').waitFor();
  const marked = async () => [
    await page.locator('#text .marked .words').allTextContents(),
    await page.locator('#boxes rect').evaluateAll((rects) => rects.map((rect) => rect.getAttribute('class') ?? '')),
  ];
  await page.locator('#boxes rect').nth(1).hover();
  assert.deepEqual(await marked(), [['two'], ['', 'marked', '']]);
  await page.locator('#text [role="option"]').nth(2).hover();
  assert.deepEqual(await marked(), [['three'], ['', '', 'marked']]);
  await page.locator('#boxes rect').nth(0).click();
  assert.equal(await page.evaluate('document.activeElement.querySelector(".words").textContent'), 'one');
  await page.locator('h1').hover();
  assert.deepEqual(await marked(), [['one'], ['marked', '', '']]);
  assert.deepEqual(await page.locator('#text .unsure .words').allTextContents(), ['two']);
});

test('a new picture shows nothing of the one before', async () => {
  const page = await openPage(url);
  await stubReading(page, [line('one', 10), line('two', 60)]);
  await give(page, 'small.png', await smallPage());
  await page.locator('#download:enabled').waitFor();
  await page.locator('#tab-classify').click();
  await give(page, 'other.png', await smallPage());
  assert.equal(await page.locator('#boxes rect').count(), 0);
  assert.equal(await page.locator('#text .words').count(), 0);
  await page.locator('#tab-read').click();
  await page.locator('#download:enabled').waitFor();
  assert.deepEqual(await textOf(page), ['one', 'two']);
});

test('what a model writes is text, whatever it is', async () => {
  const page = await openPage(url);
  const hostile = [
    '<img src=x onerror="document.title=1"><script>document.title=1</script>',
    '"><svg onload=document.title=1>',
    '[link](javascript:document.title=1)',
    '</div><iframe srcdoc="<script>parent.document.title=1</script>">',
  ];
  await stubReading(
    page,
    hostile.map((text, i) => line(text, 10 + 40 * i)),
  );
  await page.route('**/v1/classify', (route) => route.fulfill({ json: { data: [{ label: hostile[0], score: 1 }] } }));
  await give(page, '<b>name</b>.png', await smallPage());
  await page.locator('#download:enabled').waitFor();
  await page.locator('#tab-classify').click();
  await page.locator('#classify-form button').click();
  await page.locator('#scores li').waitFor();
  assert.deepEqual(await textOf(page), hostile);
  assert.deepEqual(await page.locator('#scores li > span:first-child').allTextContents(), [hostile[0]]);
  assert.equal(await page.locator('#file-name').textContent(), '<b>name</b>.png');
  assert.equal(await page.title(), 'varyclip');
  assert.equal(await page.locator('main script, main iframe, #text img, #text a, #scores img').count(), 0);
});

test('the policy lets no inline script run and nothing else be asked', async () => {
  const page = await openPage(url);
  await page.evaluate(`{
    const script = document.createElement('script');
    script.textContent = 'document.title = "ran"';
    document.body.append(script);
  }`);
  assert.equal(await page.title(), 'varyclip');
  const asked = await page.evaluate(`fetch('http://example.org/').then(() => 'sent', () => 'refused')`);
  assert.equal(asked, 'refused');
  assert.ok(
    page.errors.every((error) => /Content Security Policy|example\.org/.test(error)),
    String(page.errors),
  );
});

test('everything can be done with the keyboard alone', async () => {
  const page = await openPage(url);
  await stubReading(page, [line('one', 10), line('two', 60)]);
  // Listening has to begin long before the key: a dialog that opens sooner is never told of.
  const chosen = new Promise<FileChooser>((resolve) => page.once('filechooser', resolve));
  const focused = () => page.evaluate('document.activeElement.id || document.activeElement.textContent');
  const press = async (...keys: readonly string[]) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  await press('Tab');
  assert.equal(await focused(), 'tab-read');
  await press('ArrowRight');
  assert.equal(await focused(), 'tab-classify');
  assert.ok(await page.locator('#panel-classify').isVisible());
  await press('ArrowLeft', 'Tab');
  assert.equal(await page.evaluate('document.activeElement.name'), 'where');
  await press('Tab');
  assert.equal(await focused(), 'file');
  await press('Enter');
  await (await chosen).setFiles({ name: 'small.png', mimeType: 'image/png', buffer: await smallPage() });
  await page.locator('#download:enabled').waitFor();
  await press('Tab');
  assert.equal(await focused(), 'copy');
  await press('Tab', 'Tab', 'Tab');
  assert.match(String(await focused()), /^one/);
  await press('ArrowDown');
  assert.match(String(await focused()), /^two/);
  assert.equal(await page.locator('#boxes rect').nth(1).getAttribute('class'), 'marked');
});

test('a file that is no picture is answered with what is wrong with it', async () => {
  const page = await openPage(url);
  await give(page, 'broken.png', Buffer.from('this is no picture'));
  const failure = page.locator('#read-error');
  await failure.waitFor();
  const response = await fetch(`${url}/v1/read`, { method: 'POST', body: 'this is no picture' });
  const { error } = (await response.json()) as { error: { message: string } };
  assert.equal(await failure.textContent(), error.message);
  assert.ok(await page.locator('#copy').isDisabled());
  assert.ok(await page.locator('#image').isHidden(), 'a broken picture is not shown as one');
});

test('pictures are classified; a server without an index says so', async () => {
  const page = await openPage(url);
  await stubReading(page, []);
  await give(page, 'apple.png', await sharp('examples/pictures/red-apple.png').png().toBuffer());
  await page.locator('#tab-classify').click();
  await page.locator('#labels').fill('a red apple\na bus\n\n');
  await page.locator('#classify-form button').click();
  await page.locator('#scores li').first().waitFor();
  assert.deepEqual(await page.locator('#scores li > span:first-child').allTextContents(), ['a red apple', 'a bus']);
  await page.locator('#file').setInputFiles('examples/pictures/taxi.png');
  assert.equal(await page.locator('#scores li').count(), 0, 'what was said of another picture is gone');
  await page.locator('#tab-search').click();
  await page.locator('#query').fill('apple');
  await page.locator('#query').press('Enter');
  await page.locator('#search-error').waitFor();
  assert.match((await page.locator('#search-error').textContent()) ?? '', /no index.*--index/);
});

test('a server that is still loading is not given up', async () => {
  const page = await openPage('about:blank');
  await page.route('**/v1/models', (route) => route.fulfill({ json: { object: 'list', data: [] } }));
  await Promise.all([page.waitForResponse('**/v1/models'), page.goto(url)]);
  await page.route('**/v1/read*', (route) =>
    route.fulfill({ status: 503, json: { error: { message: 'the models are being loaded' } } }),
  );
  await give(page, 'small.png', await smallPage());
  await page.locator('#read-error').waitFor();
  assert.equal(await page.locator('#read-error').textContent(), 'the models are being loaded');
  assert.ok(await page.locator('#where-server').isChecked());
});

test('only the files of the page are served, with its policy, and again only when they changed', async () => {
  const response = await fetch(url);
  assert.match(response.headers.get('content-security-policy') ?? '', /^default-src 'self'; /);
  const headers = { 'if-none-match': response.headers.get('etag') ?? '' };
  assert.equal((await fetch(url, { headers })).status, 304);
  for (const path of ['/..%2fpackage.json', '/models/vary-nano/..%2f..%2fpackage.json', '/models/']) {
    assert.equal((await fetch(url + path)).status, 404);
  }
  const wasm = await fetch(`${url}/ort-wasm-simd-threaded.wasm`);
  assert.equal(wasm.headers.get('content-type'), 'application/wasm');
  assert.ok((await wasm.arrayBuffer()).byteLength > 1e6);
});

test('a key is asked for where the server wants one, and used', async () => {
  const locked = startServer({ models: ['vary-nano'], apiKey: 'secret' });
  await locked.loaded;
  const { url: closed } = await locked.listen({ port: 0 });
  const page = await openPage(closed);
  await page.locator('#key').fill('wrong');
  await page.locator('#key').press('Enter');
  await page.locator('#key').fill('secret');
  const [answer] = await Promise.all([page.waitForResponse('**/v1/models'), page.locator('#key').press('Enter')]);
  assert.equal(answer.status(), 200);
  assert.ok(await page.locator('#key-form').isHidden());
});
