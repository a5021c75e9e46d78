import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { AbortedError, DownloadError, InputError } from '../../src/core/errors.js';
import { pullModel } from '../../src/node/hub/pull.js';
import { resolveModel } from '../../src/node/hub/resolve.js';
import { type HubSettings, hubSettings } from '../../src/node/hub/settings.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { type FakeHub, startHub } from '../helpers/hub-server.js';

const scratch = scratchDir();
const text = (content: string) => ({ content: Buffer.from(content) });
const weights = { content: Buffer.alloc(100_000, 'weights!'), lfs: true };
const model = {
  'config.json': text('{"model_type":"vary"}'),
  'vocab.json': text('{}'),
  'model.safetensors': weights,
  'pytorch_model.bin': weights,
  'README.md': text('# a model'),
  'training_args.bin': text('not asked for'),
  'onnx/model.onnx': weights,
  'setup.py': text('print()'),
};

let caches = 0;
async function setUp(files: Parameters<typeof startHub>[0] = model) {
  const hub = await startHub(files);
  const cacheDir = join(scratch, `cache${caches++}`);
  const settings: HubSettings = { cacheDir, endpoint: hub.endpoint, token: undefined, offline: false };
  const root = join(cacheDir, 'models--org--name');
  const pull = (options: Partial<Parameters<typeof pullModel>[1]> = {}) =>
    pullModel('org/name', { settings, retryDelay: 1, onProgress: ({ done }) => hub.arrived(done), ...options });
  return { hub, settings, root, pull };
}

const blobName = (content: Uint8Array) => createHash('sha256').update(content).digest('hex');

function leavePartial(root: string, content: Uint8Array): void {
  mkdirSync(join(root, 'blobs'), { recursive: true });
  writeFileSync(join(root, 'blobs', `${blobName(weights.content)}.incomplete`), content);
}

const filesUnder = (dir: string) => (existsSync(dir) ? readdirSync(dir, { recursive: true }).sort() : []);
const requestsFor = (hub: FakeHub, name: string) => hub.requests.filter(({ path }) => path.endsWith(name));

test('settings are those of the HF_ variables', () => {
  const cacheOf = (environment: Record<string, string>) => hubSettings(environment).cacheDir;
  assert.equal(cacheOf({}), join(homedir(), '.cache', 'huggingface', 'hub'));
  assert.equal(cacheOf({ XDG_CACHE_HOME: '/x' }), join('/x', 'huggingface', 'hub'));
  assert.equal(cacheOf({ HF_HOME: '/h', XDG_CACHE_HOME: '/x' }), join('/h', 'hub'));
  assert.equal(cacheOf({ HF_HUB_CACHE: '/c', HF_HOME: '/h' }), '/c');
  assert.equal(cacheOf({ HF_HUB_CACHE: '', HF_HOME: '/h' }), join('/h', 'hub'));
  assert.equal(hubSettings({ HF_ENDPOINT: 'http://mirror:8080/hf/' }).endpoint, 'http://mirror:8080/hf');
  assert.throws(() => hubSettings({ HF_ENDPOINT: 'mirror' }), InputError);
  for (const on of ['1', 'ON', 'yes', 'True']) assert.equal(hubSettings({ HF_HUB_OFFLINE: on }).offline, true);
  for (const off of ['0', '', 'false']) assert.equal(hubSettings({ HF_HUB_OFFLINE: off }).offline, false);
});

test('a model is pulled into the shared layout: blobs by checksum, a ref, links', async () => {
  const { hub, root, pull } = await setUp();
  const result = await pull();
  assert.equal(result.directory, join(root, 'snapshots', hub.commit));
  assert.deepEqual(filesUnder(result.directory), ['README.md', 'config.json', 'model.safetensors', 'vocab.json']);
  assert.equal(readFileSync(join(root, 'refs', 'main'), 'utf8'), hub.commit);
  const link = readlinkSync(join(result.directory, 'model.safetensors'));
  assert.match(link, /^..\/..\/blobs\/[0-9a-f]{64}$/);
  assert.match(readlinkSync(join(result.directory, 'config.json')), /^..\/..\/blobs\/[0-9a-f]{40}$/);
  assert.deepEqual(readFileSync(join(result.directory, 'model.safetensors')), weights.content);
  assert.equal(filesUnder(join(root, 'blobs')).length, 4);
  assert.deepEqual(
    result.files.map(({ downloaded }) => downloaded),
    [true, true, true, true],
  );
});

test('a second pull downloads nothing; a damaged or missing blob is downloaded again', async () => {
  const { hub, root, pull } = await setUp();
  const { directory } = await pull();
  const before = requestsFor(hub, 'model.safetensors').length;
  assert.ok((await pull()).files.every(({ downloaded }) => !downloaded));
  assert.equal(requestsFor(hub, 'model.safetensors').length, before);
  const path = join(directory, 'model.safetensors');
  writeFileSync(path, 'damaged');
  const again = await pull();
  assert.deepEqual(
    again.files.filter(({ downloaded }) => downloaded).map(({ name }) => name),
    ['model.safetensors'],
  );
  assert.deepEqual(readFileSync(path), weights.content);
  rmSync(join(root, 'snapshots'), { recursive: true });
  await pull();
  assert.ok(existsSync(path));
});

test('sharded safetensors, sharded and single torch files', async () => {
  const index = (names: string[]) =>
    text(JSON.stringify({ weight_map: Object.fromEntries(names.map((n, i) => [`t${i}`, n])) }));
  const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
  const sharded = await setUp({
    'config.json': model['config.json'],
    'model.safetensors.index.json': index(shards),
    [shards[0]]: weights,
    [shards[1]]: { ...text('second'), lfs: true },
    'pytorch_model.bin': weights,
  });
  const want = ['config.json', ...shards, 'model.safetensors.index.json'];
  assert.deepEqual(filesUnder((await sharded.pull()).directory), want);
  const torch = await setUp({ 'config.json': model['config.json'], 'pytorch_model.bin': weights });
  assert.deepEqual(filesUnder((await torch.pull()).directory), ['config.json', 'pytorch_model.bin']);
  for (const shard of ['../../../evil.safetensors', 'a/b.safetensors', 'run.sh', 'model-9.safetensors']) {
    const bad = await setUp({
      'config.json': model['config.json'],
      'model.safetensors.index.json': index([shard]),
      'run.sh': text('#!'),
    });
    await assert.rejects(bad.pull(), InputError, shard);
    assert.deepEqual(filesUnder(join(bad.root, 'snapshots')), [], shard);
    assert.ok(!existsSync(join(scratch, 'evil.safetensors')));
  }
});

test("names and checksums in the server's listing cannot lead anywhere else", async () => {
  const { hub, root, pull } = await setUp();
  hub.faults.listed = ['../../evil', '/etc/evil', 'a/../../../evil', '..', 'config.json/../evil', '\\evil'].map(
    (path) => ({
      type: 'file',
      path,
      size: 4,
      oid: 'a'.repeat(40),
    }),
  );
  await pull();
  assert.ok(!hub.requests.some(({ path }) => path.includes('evil')));
  assert.ok(filesUnder(scratch).every((name) => !String(name).includes('evil')));
  for (const oid of ['../../../../evil', 'A'.repeat(40), undefined]) {
    hub.faults.listed = [{ type: 'file', path: 'config.json', size: 4, oid }];
    await assert.rejects(pull(), /expected a size and a checksum/);
  }
  hub.faults.listed = [{ type: 'file', path: 'x', size: -1, oid: 'a'.repeat(40) }];
  await assert.rejects(pull(), DownloadError);
  assert.deepEqual(
    filesUnder(join(root, '..', '..')).filter((name) => String(name).includes('evil')),
    [],
  );
});

test('a commit that is not one, or a listing that leads elsewhere with the token, is refused', async () => {
  const { hub, settings, pull } = await setUp();
  hub.faults.sha = '../../../evil';
  await assert.rejects(pull(), /expected the hub to name a commit/);
  delete hub.faults.sha;
  hub.faults.next = `${hub.storage}/steal`;
  await assert.rejects(pull({ settings: { ...settings, token: 'hf_secret' } }), /link to another place/);
  assert.ok(!hub.requests.some(({ server }) => server === 'storage'));
});

test('a cut connection is taken up where it broke, in one pull and over two', async () => {
  const files = { 'config.json': { ...model['config.json'], lfs: true }, 'model.safetensors': weights };
  const { hub, root, pull } = await setUp(files);
  const ranges = () => hub.requests.filter(({ path }) => path === '/model.safetensors').map(({ range }) => range);
  hub.faults.cutAfter = [1000, 30_000, 20_000];
  const { directory } = await pull();
  assert.deepEqual(ranges(), [undefined, 'bytes=30000-', 'bytes=50000-']);
  assert.deepEqual(readFileSync(join(directory, 'model.safetensors')), weights.content);
  rmSync(root, { recursive: true });
  hub.requests.length = 0;
  hub.faults.cutAfter = [1000, 40_000];
  await assert.rejects(pull({ retries: 0 }), (error) => {
    assert.ok(error instanceof DownloadError);
    assert.match(
      error.message,
      /org\/name\/model.safetensors: stopped at byte 40000 of 100000: .*run it again to go on/,
    );
    return true;
  });
  await pull();
  assert.deepEqual(ranges(), [undefined, 'bytes=40000-']);
});

test('a second pull goes on from what the first left', async () => {
  const { hub, root, pull } = await setUp({ 'config.json': model['config.json'], 'model.safetensors': weights });
  leavePartial(root, weights.content.subarray(0, 60_000));
  await pull();
  assert.deepEqual(
    hub.requests.filter(({ server }) => server === 'storage').map(({ range }) => range),
    ['bytes=60000-'],
  );
  assert.ok(filesUnder(join(root, 'blobs')).every((name) => !/incomplete|lock/.test(String(name))));
});

test('a wrong start, a longer one, and a server without ranges end well', async () => {
  for (const [start, noRange] of [
    [Buffer.alloc(500, 'other'), false],
    [Buffer.alloc(200_000, 'longer'), false],
    [weights.content, false],
    [Buffer.alloc(100_000, 'wrong'), false],
    [weights.content.subarray(0, 500), true],
  ] as const) {
    const { hub, root, pull } = await setUp({ 'config.json': model['config.json'], 'model.safetensors': weights });
    leavePartial(root, start);
    hub.faults.noRange = noRange;
    const { directory } = await pull();
    assert.deepEqual(readFileSync(join(directory, 'model.safetensors')), weights.content);
  }
});

test('a wrong checksum keeps nothing', async () => {
  for (const name of ['config.json', 'model.safetensors']) {
    const { hub, root, pull } = await setUp({ 'config.json': model['config.json'], 'model.safetensors': weights });
    hub.faults.damage = name;
    await assert.rejects(pull(), (error) => {
      assert.ok(error instanceof DownloadError);
      const kind = name === 'config.json' ? 'git id' : 'sha256';
      assert.match(error.message, new RegExp(`org/name/${name}: the ${kind} is not [0-9a-f]+: .*nothing was kept`));
      return true;
    });
    assert.deepEqual(filesUnder(join(root, 'snapshots')), []);
    assert.ok(!existsSync(join(root, 'refs')));
    assert.equal(filesUnder(join(root, 'blobs')).length, name === 'config.json' ? 0 : 1);
  }
});

test('busy servers are asked again, too many bytes and silence are errors', async () => {
  const { hub, root, pull } = await setUp();
  hub.faults.statuses = [503, 429, 500];
  await pull();
  rmSync(root, { recursive: true });
  hub.faults.statuses = Array(20).fill(503);
  await assert.rejects(pull({ retries: 2 }), /the server answered 503/);
  hub.faults.statuses = [];
  hub.faults.extra = 5;
  await assert.rejects(pull(), /expected \d+ bytes, the server sends more/);
  hub.faults.extra = 0;
  hub.faults.silent = true;
  await assert.rejects(pull({ stallTimeout: 50, retries: 1 }), /nothing came for 0.05 s/);
});

test('private and unknown models and revisions say so; the token goes to the hub only', async () => {
  const { hub, settings, pull } = await setUp();
  hub.faults.token = 'hf_secret';
  await assert.rejects(
    pull(),
    (error) => error instanceof InputError && /refused \(401\).*HF_TOKEN/.test(error.message),
  );
  const withToken = { ...settings, token: 'hf_secret' };
  await pull({ settings: withToken });
  const storage = hub.requests.filter(({ server }) => server === 'storage');
  assert.ok(storage.length > 0 && storage.every(({ token }) => token === undefined));
  await assert.rejects(pullModel('org/other', { settings: withToken }), /org\/other: not found on the hub \(404\)/);
  await assert.rejects(
    pull({ settings: withToken, revision: 'v9' }),
    /not found on the hub \(404\); check the name and the revision/,
  );
});

test('revisions: tags and pull requests get a ref, a commit none', async () => {
  const { hub, settings, root, pull } = await setUp();
  await pull({ revision: 'v1.0' });
  await pull({ revision: 'refs/pr/1' });
  assert.equal(readFileSync(join(root, 'refs', 'refs', 'pr', '1'), 'utf8'), hub.commit);
  const { directory } = await pull({ revision: hub.commit });
  assert.deepEqual(readdirSync(join(root, 'refs')).sort(), ['refs', 'v1.0']);
  assert.equal(await resolveModel('org/name', { settings, revision: hub.commit }), directory);
  assert.equal(await resolveModel('org/name', { settings, revision: 'v1.0' }), directory);
  for (const revision of ['../main', 'a/../b', '', '/etc', 'a b', '-x', 'a//b']) {
    await assert.rejects(pull({ revision }), /expected a branch, a tag or a commit/, revision);
    await assert.rejects(resolveModel('org/name', { settings, revision }), InputError, revision);
  }
});

test('names that are no model on the hub are refused before anything is asked', async () => {
  const { hub, settings } = await setUp();
  for (const id of ['name', 'a/b/c', '../x', 'org/..', 'org/a--b', 'org/na me', '/x', 'org/', 'org/.x', '']) {
    await assert.rejects(pullModel(id, { settings }), /expected a model's name on the hub, org\/name/, id);
  }
  assert.equal(hub.requests.length, 0);
});

test('offline: what is in the cache is found, the rest names the command', async () => {
  const { hub, settings, pull } = await setUp();
  const offline = { ...settings, offline: true };
  await assert.rejects(pull({ settings: offline }), /HF_HUB_OFFLINE forbids/);
  await assert.rejects(resolveModel('org/name', { settings }), (error) => {
    assert.ok(error instanceof InputError);
    assert.match(error.message, /download it with: varyclip pull org\/name$/);
    return true;
  });
  await assert.rejects(
    resolveModel('org/name', { settings, revision: 'v1.0' }),
    /varyclip pull org\/name --revision v1.0$/,
  );
  await assert.rejects(resolveModel('org/name', { settings: offline, offline: false }), /varyclip pull org\/name/);
  await assert.rejects(
    resolveModel('no/such/dir', { settings }),
    /no\/such\/dir: there is no such checkpoint directory/,
  );
  assert.equal(hub.requests.length, 0);
  const directory = await resolveModel('org/name', { settings, offline: false });
  hub.requests.length = 0;
  assert.equal(await resolveModel('org/name', { settings }), directory);
  assert.equal((await pull({ settings: offline })).directory, directory);
  assert.equal(hub.requests.length, 0);
});

test('an interrupt stops, keeps the part, and the next pull goes on; no lock stays', async () => {
  const { hub, root, pull } = await setUp({ 'config.json': model['config.json'], 'model.safetensors': weights });
  const controller = new AbortController();
  const onProgress = ({ file }: { file: string }) => file === 'model.safetensors' && controller.abort();
  await assert.rejects(pull({ signal: controller.signal, onProgress }), AbortedError);
  assert.ok(filesUnder(join(root, 'blobs')).every((name) => !String(name).endsWith('.lock')));
  hub.requests.length = 0;
  await pull();
  assert.equal(statSync(join(root, 'snapshots', hub.commit, 'model.safetensors')).size, weights.content.length);
});

test('two pulls at once do not write one file; the lock of a dead process is taken over', async () => {
  const { root, pull } = await setUp({ 'config.json': model['config.json'], 'model.safetensors': weights });
  const results = await Promise.allSettled([pull(), pull()]);
  assert.ok(results.some(({ status }) => status === 'fulfilled'));
  for (const result of results) {
    if (result.status === 'rejected') assert.match(String(result.reason), /process \d+ is downloading it/);
  }
  rmSync(root, { recursive: true });
  mkdirSync(join(root, 'blobs'), { recursive: true });
  writeFileSync(join(root, 'blobs', `${blobName(weights.content)}.lock`), '999999999');
  await pull();
});

test('a model without a config or weights is not pulled', async () => {
  await assert.rejects((await setUp({ 'model.safetensors': weights })).pull(), /has no config.json/);
  const { root, pull } = await setUp({ 'config.json': model['config.json'] });
  await assert.rejects(pull(), /has no weights; looked for/);
  assert.deepEqual(filesUnder(join(root, 'snapshots')), []);
});

test('a server that is not there is an error of the transfer', async () => {
  const { settings } = await setUp();
  const dead = { ...settings, endpoint: 'http://127.0.0.1:9' };
  await assert.rejects(pullModel('org/name', { settings: dead, retries: 0 }), (error) => {
    assert.ok(error instanceof DownloadError);
    assert.match(error.message, /org\/name: http:\/\/127.0.0.1:9 cannot be asked: /);
    return true;
  });
});
