import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadModel, type NodeClipModel, openIndex } from '../../src/index.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { openFlatStore } from '../../src/node/search/flat-store.js';
import { openLanceStore } from '../../src/node/search/lance-store.js';
import { parseStore } from '../../src/node/search/open-store.js';
import { openQdrantStore } from '../../src/node/search/qdrant-store.js';
import { createProductKernel } from '../../src/search/kernel.js';
import { runCli } from '../helpers/cli.js';
import { temporaryFolder, withTokenizer } from '../helpers/clip-checkpoints.js';
import { pictureFolder, writePicture } from '../helpers/pictures.js';
import { startQdrant } from '../helpers/qdrant-server.js';
import { checkStore, contractDimension as dimension } from '../helpers/store-contract.js';

const kernel = createProductKernel(createRuntime({ threads: 2 }), dimension);
after(() => kernel.dispose());

test('files do what a store does, with lists and without', async () => {
  for (const listsFrom of [10, 1000]) {
    const dir = temporaryFolder();
    await checkStore(async (write) => openFlatStore(dir, { dimension, kernel, write, listsFrom, probes: 100 }));
  }
});

test('Qdrant’s protocol does what a store does', async () => {
  const { url, collections, keys } = await startQdrant('secret');
  await checkStore((write) => openQdrantStore(url, 'pictures', { dimension, write, apiKey: 'secret' }));
  assert.ok(keys.every((key) => key === 'secret'));
  await assert.rejects(openQdrantStore(url, 'pictures', { dimension, write: true }), {
    name: 'InputError',
    message: /the server says: Must provide an API key/,
  });
  await assert.rejects(openQdrantStore(url, 'pictures', { dimension: 8, write: true, apiKey: 'secret' }), {
    name: 'InputError',
    message: /expected vectors of 8 compared by Cosine, got {"size":16,"distance":"Cosine"}/,
  });
  await assert.rejects(openQdrantStore(url, 'other', { dimension, write: false, apiKey: 'secret' }), {
    name: 'InputError',
    message: /is not there/,
  });
  assert.deepEqual([...collections.keys()], ['pictures']);
  await assert.rejects(openQdrantStore('http://127.0.0.1:9', 'pictures', { dimension, write: true }), {
    name: 'RuntimeUnavailableError',
    message: /does not answer/,
  });
});

test('LanceDB that is not installed is named with the command that installs it', async () => {
  await assert.rejects(openLanceStore(temporaryFolder(), { dimension, write: true }), {
    name: 'RuntimeUnavailableError',
    message: /needs the package @lancedb\/lancedb.*npm install @lancedb\/lancedb@/,
  });
});

test('stores as the command line names them', () => {
  assert.deepEqual(parseStore('flat'), { kind: 'flat' });
  assert.deepEqual(parseStore('lancedb'), { kind: 'lancedb' });
  const qdrant = { kind: 'qdrant', url: 'https://host:6333', collection: 'my-pictures' };
  assert.deepEqual(parseStore('https://host:6333/my-pictures'), qdrant);
  for (const text of ['sqlite', 'http://host:6333', 'http://host/a/b', 'ftp://host/a', 'http://me:pw@host/a', '']) {
    assert.throws(() => parseStore(text), { name: 'InputError', message: /^--store: / }, text);
  }
});

test('an index on a server: made, searched and brought up to date through the command line', async () => {
  const { url, collections } = await startQdrant('secret');
  const dir = temporaryFolder();
  const [root, out, key] = ['pictures', 'index', 'key'].map((name) => join(dir, name));
  const paths = await pictureFolder(root, 7);
  writeFileSync(key, 'secret\n');
  const checkpoint = withTokenizer('clip/ckpt-modern');
  const options = ['--threads', '2', '--api-key-file', key];
  const store = ['--store', `${url}/pictures`, '--model', checkpoint];
  const made = await runCli(['index', root, '--out', out, ...store, ...options]);
  assert.deepEqual([made.code, made.out], [0, '7 added, 0 changed, 0 removed, 0 unchanged, 0 failed\n'], made.err);
  assert.equal(collections.get('pictures')?.points.size, 7);
  assert.ok(!existsSync(join(out, 'flat.json')));
  assert.ok(!readFileSync(join(out, 'index.json'), 'utf8').includes('secret'));
  const told = await runCli(['search', out, '--image', join(root, paths[4]), '--top', '1', ...options]);
  assert.equal(told.out, `1.0000\t${join(root, paths[4])}\n`, told.err);
  const again = await runCli(['index', root, '--out', out, ...options]);
  assert.match(again.out, /^0 added, 0 changed, 0 removed, 7 unchanged/);
  await writePicture(join(root, 'new.png'), 50);
  const ranks = [0, 1].map((rank) => ['--shards', '2', '--shard', String(rank)]);
  const begun = await runCli(['index', root, '--out', join(dir, 'other'), ...store, ...options, ...ranks[0]]);
  assert.equal(begun.code, 2);
  assert.match(begun.err, /an index on a server is begun by one process/);
  for (const rank of ranks) assert.equal((await runCli(['index', root, '--out', out, ...options, ...rank])).code, 0);
  assert.equal(collections.get('pictures')?.points.size, 8);
  const model = (await loadModel(checkpoint, { threads: 2 })) as NodeClipModel;
  await assert.rejects(openIndex(out, { model, store: { kind: 'flat' }, apiKey: 'secret' }), {
    name: 'InputError',
    message: /to use {"kind":"flat"} make another index/,
  });
  await model.dispose();
  assert.equal((await runCli(['search', out, 'a', '--threads', '2'])).code, 2);
});
