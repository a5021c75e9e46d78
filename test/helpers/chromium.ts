import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { after } from 'node:test';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];
const elsewhere = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
];

function findChromium(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return [...folders.flatMap((folder) => names.map((name) => join(folder, name))), ...elsewhere].find(existsSync);
}

/** The Chromium or Chrome of this machine; Debian's package is installed where this process may do it. Throws saying what to run. */
function ensureChromium(): string {
  const found = findChromium();
  if (found !== undefined) return found;
  const command = 'apt-get install -y --no-install-recommends chromium';
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    const [program, ...args] = command.split(' ');
    execFileSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  }
  const installed = findChromium();
  if (installed !== undefined) return installed;
  throw new Error(`there is no Chromium or Chrome on this machine; run: sudo ${command}`);
}

let browser: Promise<Browser> | undefined;
// Here and not when it starts: there it would belong to the first test.
after(async () => (await browser)?.close());

/** Opens a page at `url`; what it logs as an error is kept. The browser is shared by a file's tests and closed after them. */
export async function openPage(
  url: string,
  options: BrowserContextOptions = {},
): Promise<Page & { readonly errors: string[] }> {
  if (browser === undefined) {
    browser = chromium.launch({
      executablePath: ensureChromium(),
      // A container has neither the kernel's sandbox nor much shared memory.
      args: ['--no-sandbox', '--disable-dev-shm-usage', '--no-proxy-server'],
    });
  }
  const context = await (await browser).newContext({ ...options, permissions: ['clipboard-read', 'clipboard-write'] });
  const page = await context.newPage();
  page.setDefaultTimeout(300_000);
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  await page.goto(url);
  return Object.assign(page, { errors });
}
