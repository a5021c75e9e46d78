import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { AbortedError, DownloadError, InputError } from '../../src/core/errors.js';
import { isPublicAddress } from '../../src/node/address-policy.js';
import { type FetchImageOptions, fetchImage, type UrlAnswer } from '../../src/node/fetch-image.js';

const publicHost = 'images.example.org';

interface Asked {
  readonly url: string;
  readonly address: string;
}

/** A world without a network: names as they are given, answers as they are given, and a list of what was asked. */
function world(changes: {
  names?: Readonly<Record<string, readonly (readonly string[])[]>>;
  answer?: (url: URL) => Partial<UrlAnswer>;
  options?: FetchImageOptions;
}) {
  const asked: Asked[] = [];
  const lookups = new Map<string, number>();
  const names: Readonly<Record<string, readonly (readonly string[])[]>> = {
    [publicHost]: [['93.184.216.34']],
    ...changes.names,
  };
  const options: FetchImageOptions = {
    allowedHosts: [publicHost],
    resolve: async (host) => {
      const turn = lookups.get(host) ?? 0;
      lookups.set(host, turn + 1);
      const answers = names[host];
      if (!answers) throw new Error(`no such host ${host}`);
      return answers[Math.min(turn, answers.length - 1)];
    },
    connect: async (url, address) => {
      asked.push({ url: url.href, address });
      const body = (async function* () {
        yield Buffer.from('picture');
      })();
      return { status: 200, location: undefined, body, close: () => undefined, ...changes.answer?.(url) };
    },
    ...changes.options,
  };
  return { asked, fetch: (url: string) => fetchImage(url, options) };
}

/** Ways to say an address that is not public, or a place that is no image: none may be asked. */
const forms: readonly string[] = [
  'http://127.0.0.1/a.png',
  'http://127.0.0.1:8000/a.png',
  'http://127.1/a.png',
  'http://127.0.1/a.png',
  'http://2130706433/a.png',
  'http://0x7f000001/a.png',
  'http://0x7f.0x0.0x0.0x1/a.png',
  'http://0177.0.0.1/a.png',
  'http://017700000001/a.png',
  'http://0/a.png',
  'http://0.0.0.0/a.png',
  'http://0.0.0.0:22/a.png',
  'http://localhost/a.png',
  'http://LOCALHOST/a.png',
  'http://localhost./a.png',
  'http://sub.localhost/a.png',
  'http://127.0.0.1.nip.example/a.png',
  'http://[::1]/a.png',
  'http://[::]/a.png',
  'http://[0:0:0:0:0:0:0:1]/a.png',
  'http://[::ffff:127.0.0.1]/a.png',
  'http://[::ffff:7f00:1]/a.png',
  'http://[::127.0.0.1]/a.png',
  'http://[64:ff9b::7f00:1]/a.png',
  'http://[2002:7f00:1::]/a.png',
  'http://[fe80::1]/a.png',
  'http://[fc00::1]/a.png',
  'http://[fd00:ec2::254]/a.png',
  'http://[ff02::1]/a.png',
  'http://169.254.169.254/latest/meta-data/',
  'http://169.254.170.2/v2/credentials',
  'http://2852039166/latest/meta-data/',
  'http://0xa9fea9fe/latest/meta-data/',
  'http://metadata.google.internal/computeMetadata/v1/',
  'http://100.100.100.200/latest/meta-data/',
  'http://192.168.0.1/a.png',
  'http://192.168.1.1:8080/a.png',
  'http://10.0.0.1/a.png',
  'http://10.255.255.255/a.png',
  'http://172.16.0.1/a.png',
  'http://172.31.255.255/a.png',
  'http://100.64.0.1/a.png',
  'http://198.18.0.1/a.png',
  'http://192.0.0.1/a.png',
  'http://224.0.0.1/a.png',
  'http://255.255.255.255/a.png',
  'http://①②⑦.⓪.⓪.①/a.png',
  'http://１２７.0.0.1/a.png',
  'http://127。0。0。1/a.png',
  `http://${publicHost}@127.0.0.1/a.png`,
  `http://${publicHost}:80@127.0.0.1/a.png`,
  `http://127.0.0.1\\@${publicHost}/a.png`,
  `http://127.0.0.1#@${publicHost}/a.png`,
  `http://127.0.0.1?@${publicHost}/a.png`,
  `http://user:password@${publicHost}/a.png`,
  `http://${publicHost}:22/a.png`,
  `http://${publicHost}:25/a.png`,
  `http://${publicHost}.evil.example/a.png`,
  `http://evil-${publicHost}/a.png`,
  'file:///etc/passwd',
  'file://127.0.0.1/etc/passwd',
  'ftp://127.0.0.1/a.png',
  'gopher://127.0.0.1:70/_a',
  'dict://127.0.0.1:11211/stat',
  'ldap://127.0.0.1/a',
  'jar:http://127.0.0.1!/a.png',
  'javascript:alert(1)',
  'blob:http://127.0.0.1/a',
  'data:text/html;base64,PGI+',
  'data:image/png,notbase64',
  'data:image/svg+xml,<svg/>',
  '//127.0.0.1/a.png',
  '/etc/passwd',
  'a.png',
  'http://',
  '',
];

test(`${forms.length} forms of URLs that nobody may ask: all refused, nothing sent`, async () => {
  assert.ok(forms.length >= 60);
  for (const url of forms) {
    const { asked, fetch } = world({});
    await assert.rejects(fetch(url), InputError, url);
    assert.deepEqual(asked, [], url);
  }
});

test('an allowed name is not enough: its address must be public, whatever way it is written', async () => {
  const closed = forms.flatMap((url) => {
    const host = URL.canParse(url) ? new URL(url).hostname.replace(/^\[|\]$/g, '') : '';
    return /^[\d.]+$/.test(host) || host.includes(':') ? [host] : [];
  });
  assert.ok(closed.length >= 35);
  for (const address of closed) {
    assert.equal(isPublicAddress(address), false, address);
    for (const answer of [[address], ['93.184.216.34', address]]) {
      const { asked, fetch } = world({ names: { [publicHost]: [answer] } });
      await assert.rejects(fetch(`https://${publicHost}/a.png`), InputError, address);
      assert.deepEqual(asked, []);
    }
    // Naming the address itself among the allowed hosts does not open it.
    const bracketed = address.includes(':') ? `[${address}]` : address;
    const { asked, fetch } = world({ options: { allowedHosts: [bracketed] } });
    await assert.rejects(fetch(`http://${bracketed}/a.png`), InputError, address);
    assert.deepEqual(asked, []);
  }
  for (const address of ['93.184.216.34', '1.1.1.1', '2606:4700::1111']) assert.equal(isPublicAddress(address), true);
});

test('an allowed host is asked at the address that was checked, and no name is looked up again', async () => {
  // Rebinding: the second answer would be loopback.
  const { asked, fetch } = world({ names: { [publicHost]: [['93.184.216.34'], ['127.0.0.1']] } });
  assert.equal(Buffer.from(await fetch(`https://${publicHost}/a.png`)).toString(), 'picture');
  assert.deepEqual(asked, [{ url: `https://${publicHost}/a.png`, address: '93.184.216.34' }]);
  await assert.rejects(fetch(`https://${publicHost}/a.png`), InputError);
  assert.equal(asked.length, 1);
});

test('redirects are checked like the URL itself, and are few', async () => {
  const targets = [
    'http://127.0.0.1/',
    'http://169.254.169.254/latest/',
    'file:///etc/passwd',
    '//127.0.0.1/a',
    'http://localhost:9200/',
    'http://other.example/a.png',
    'gopher://127.0.0.1/',
  ];
  for (const location of targets) {
    const { asked, fetch } = world({ answer: () => ({ status: 302, location }) });
    await assert.rejects(fetch(`https://${publicHost}/a.png`), InputError, location);
    assert.equal(asked.length, 1);
  }
  const loop = world({ answer: () => ({ status: 302, location: '/again' }) });
  await assert.rejects(loop.fetch(`https://${publicHost}/a.png`), /more than 3 redirects/);
  assert.equal(loop.asked.length, 4);
  const moved = world({ answer: ({ pathname }) => (pathname === '/a.png' ? { status: 301, location: '/b.png' } : {}) });
  assert.equal((await moved.fetch(`https://${publicHost}/a.png`)).length, 7);
  const rebound = world({
    names: { [publicHost]: [['93.184.216.34'], ['127.0.0.1']] },
    answer: () => ({ status: 302, location: '/b.png' }),
  });
  await assert.rejects(rebound.fetch(`https://${publicHost}/a.png`), InputError);
  assert.equal(rebound.asked.length, 1);
});

test('bodies, statuses and data URLs have limits', async () => {
  const endless = (async function* () {
    for (;;) yield new Uint8Array(1000);
  })();
  let closed = false;
  const large = world({
    answer: () => ({ body: endless, close: () => (closed = true) }),
    options: { maxBytes: 10_000 },
  });
  await assert.rejects(large.fetch(`https://${publicHost}/a.png`), InputError);
  assert.ok(closed);
  const missing = world({ answer: () => ({ status: 404 }) });
  await assert.rejects(missing.fetch(`https://${publicHost}/a.png`), DownloadError);
  const { fetch } = world({ options: { maxBytes: 10, maxUrlLength: 60 } });
  assert.deepEqual([...(await fetch('data:image/png;base64,AQID'))], [1, 2, 3]);
  assert.deepEqual([...(await fetch('data:;base64,AQI='))], [1, 2]);
  await assert.rejects(fetch(`data:image/png;base64,${'A'.repeat(28)}`), InputError);
  await assert.rejects(fetch(`data:image/png;base64,${'A'.repeat(100)}`), /at most 60/);
  await assert.rejects(fetch('data:image/png;base64,A*ID'), InputError);
  await assert.rejects(fetch('data:image/png;base64,'), InputError);
});

test('over a real socket: the pinned address is asked, without keys; slow servers and aborts end', async () => {
  const seen: { host: string | undefined; headers: readonly string[] }[] = [];
  const server = createServer((request, response) => {
    seen.push({ host: request.headers.host, headers: Object.keys(request.headers) });
    if (request.url === '/slow') return;
    response.writeHead(200, { 'content-type': 'image/png' }).end('bytes');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const options: FetchImageOptions = {
    allowedHosts: [`pictures.example:${port}`],
    resolve: async () => ['127.0.0.1'],
    allowAddress: (address) => address === '127.0.0.1',
  };
  const url = (path: string) => `http://pictures.example:${port}${path}`;
  assert.equal(Buffer.from(await fetchImage(url('/a.png'), options)).toString(), 'bytes');
  assert.equal(seen[0].host, `pictures.example:${port}`);
  assert.ok(!seen[0].headers.some((name) => /cookie|authorization/.test(name)));
  await assert.rejects(fetchImage(url('/slow'), { ...options, seconds: 0.1 }), DownloadError);
  const controller = new AbortController();
  const stopped = fetchImage(url('/slow'), { ...options, signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await assert.rejects(stopped, AbortedError);
});
