import assert from 'node:assert/strict';
import { constants } from 'node:buffer';
import { spawnSync } from 'node:child_process';
import { closeSync, cpSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseArguments } from '../../src/cli/arguments.js';
import { type Io, inertText, ioOver } from '../../src/cli/command.js';
import { listOption, pathsOf } from '../../src/cli/shared-job.js';
import { shardOf } from '../../src/node/shard.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { binPath, examplePath, runCli } from '../helpers/cli.js';
import { longName, makeLinkLoop } from '../helpers/places.js';

const scratch = scratchDir();
const tiny = examplePath('tiny-vary');

/** Fails unless the command line is refused as wrong input with one line that matches, and nothing on standard output. */
async function assertRefused(args: readonly string[], message: RegExp): Promise<void> {
  const { code, out, err } = await runCli(args);
  assert.equal(code, 2, `${args.join(' ')}: ${err}`);
  assert.match(err, message);
  assert.match(err, /^varyclip: /);
  assert.doesNotMatch(err, /\n\s+at /, 'a stack trace');
  assert.equal(out, '');
}

test('help and version go to standard output, help without a command to standard error', async () => {
  const help = await runCli(['--help']);
  assert.equal(help.code, 0);
  for (const name of [
    'read',
    'train',
    'evaluate',
    'classify',
    'embed',
    'data',
    'pull',
    'quantize',
    'inspect',
    'init',
    'doctor',
    'bench',
  ]) {
    assert.match(help.out, new RegExp(`^  ${name} `, 'm'));
    const own = await runCli([name, '--help']);
    assert.equal(own.code, 0, name);
    assert.match(own.out, new RegExp(`^varyclip ${name} `));
    assert.equal(own.err, '');
  }
  assert.deepEqual(await runCli([]), { code: 2, out: '', err: help.out });
  const version = await runCli(['--version']);
  assert.match(version.out, /^\d+\.\d+\.\d+\n$/);
});

test('wrong command lines are refused and say what to do', async () => {
  await assertRefused(['raed', 'x.png'], /there is no command raed; did you mean read\?/);
  await assertRefused(['__proto__'], /there is no command __proto__/);
  await assertRefused(['constructor'], /there is no command constructor/);
  await assertRefused(['read'], /name at least one image/);
  await assertRefused(['read', 'x.png', '--modle', tiny], /--modle/);
  await assertRefused(['read', 'x.png', '--model'], /--model/);
  await assertRefused(
    ['read', 'x.png', '-m', tiny, '--threads', '0'],
    /--threads: expected a whole number above 0 and at most \d+, got 0$/m,
  );
  await assertRefused(['read', 'x.png', '-m', tiny, '--precision', 'fp16'], /--precision: expected one of .*got fp16/);
  await assertRefused(['inspect'], /name one checkpoint directory/);
  await assertRefused(['inspect', tiny, tiny], /name one checkpoint directory/);
  await assertRefused(['quantize', tiny, '--out', 'x'], /--precision int8 or int4/);
  await assertRefused(['quantize', tiny, '--precision', 'int8'], /--out DIR/);
  await assertRefused(['quantize', tiny, '--precision', 'float32', '--out', 'x'], /expected one of int8, int4/);
  await assertRefused(['pull'], /name one model on the hub/);
  await assertRefused(['pull', '../etc'], /expected a model's name on the hub/);
  await assertRefused(['init', 'vary-huge', '--out', 'x'], /expected vary-tiny/);
  await assertRefused(['init', 'vary-tiny'], /--out DIR/);
  await assertRefused(['init', 'vary-tiny', '--out', tiny], /is a directory that is not empty/);
});

test('an output that is an input is refused before any work, and so is one without a name', async () => {
  const folder = join(scratch, 'inputs');
  mkdirSync(join(folder, 'index'), { recursive: true });
  const at = (name: string) => join(folder, name);
  for (const name of ['p.png', 'other.png']) cpSync(examplePath('page.png'), at(name));
  cpSync(at('p.png'), at('picture.html'));
  const contents: Record<string, string> = {
    'p.txt': 'a page',
    'list.txt': at('other.png'),
    'labels.txt': 'a\nb',
    'data.json': JSON.stringify([
      {
        image: 'other.png',
        conversations: [
          { from: 'human', value: '<image>' },
          { from: 'gpt', value: 'a' },
        ],
      },
    ]),
    'index/index.json': '{}',
  };
  for (const [name, text] of Object.entries(contents)) writeFileSync(at(name), text);
  const before = readFileSync(at('p.png'));
  const [p, list] = [at('p.png'), at('list.txt')];
  for (const args of [
    ['read', at('other.png'), p, '--html', p],
    ['classify', p, '-l', 'a,b', '--where', p],
    ['classify', p, '--labels-file', at('labels.txt'), '--where', at('labels.txt')],
    ['evaluate', folder, '--report', p],
    ['evaluate', folder, '--report', at('p.txt')],
    ['data', 'show', at('data.json'), '-m', tiny, '-o', at('data.json')],
    ['data', 'show', at('data.json'), '-m', tiny, '-o', at('other.png')],
    ['embed', p, '--out', p],
    ['embed', at('picture.html'), '--text', 'a', '--matrix', at('picture.html')],
    ['embed', '--list', list, '--out', list],
    ['embed', '--list', list, '--out', at('other.png')],
    ['search', folder, '--image', at('labels.txt'), '--html', at('labels.txt')],
  ]) {
    await assertRefused(args, /^varyclip: --[a-z]+ .*: is the input .*, which would be lost; name another file\n$/m);
  }
  await assertRefused(['search', folder, 'x', '--html', at('new.png')], /has the name of a picture of/);
  assert.deepEqual(readFileSync(p), before);
  for (const [name, text] of Object.entries(contents)) assert.equal(readFileSync(at(name), 'utf8'), text);
  for (const args of [
    ['read', p, '--out', ''],
    ['read', p, '--html', ''],
    ['index', folder, '--out', ''],
    ['init', 'vary-nano', '--out', ''],
  ]) {
    await assertRefused(args, /^varyclip: --(out|html): expected the name of a (file|directory), got an empty one\n$/);
  }
});

test('inspect: what a checkpoint is, for people and as JSON', async () => {
  const { code, out, err } = await runCli(['inspect', tiny]);
  assert.equal(code, 0);
  assert.equal(err, '');
  assert.match(
    out,
    /^architecture +vary: decoder width 32, 2 layers, 4 heads, 620 tokens, 128 positions; tower 96×96/m,
  );
  assert.match(out, /^parameters +126,832 in 92 tensors$/m);
  assert.match(out, /^loads +yes$/m);
  const json = await runCli(['inspect', tiny, '--json']);
  assert.equal(json.out.split('\n').length, 2);
  const report = JSON.parse(json.out);
  assert.deepEqual(report.problems, []);
  assert.equal(report.parameters, 126832);
});

test('inspect: every problem is named, with exit code 1; no checkpoint at all is wrong input', async () => {
  const dir = join(scratch, 'broken');
  mkdirSync(dir);
  await assertRefused(['inspect', join(scratch, 'nowhere')], /nowhere: there is no such checkpoint directory/);
  await assertRefused(['inspect', dir], /is not a checkpoint: it has no config.json/);
  writeFileSync(join(dir, 'config.json'), '{');
  await assertRefused(['inspect', dir], /config.json: is not JSON/);
  writeFileSync(join(dir, 'config.json'), '[]');
  await assertRefused(['inspect', dir], /config.json: expected a JSON object/);
  writeFileSync(join(dir, 'config.json'), '{"model_type":"vary","hidden_size":-1}');
  const { code, out } = await runCli(['inspect', dir]);
  assert.equal(code, 1);
  assert.match(out, /hidden_size: expected a whole number above 0, got -1/);
  assert.match(out, /has no weights; looked for model.safetensors/);
  assert.match(out, /has no tokenizer/);
});

test('doctor: images and the machine; JSON is one document', async () => {
  const { code, out } = await runCli(['doctor', '--json']);
  const findings = JSON.parse(out) as { what: string; ok: boolean; detail: string }[];
  assert.deepEqual(
    findings.map(({ what }) => what),
    ['machine', 'ONNX Runtime', 'images', 'cuda', 'webgpu'],
  );
  assert.ok(findings[2].ok, findings[2].detail);
  assert.equal(code, findings[1].ok ? 0 : 1);
  for (const { ok, detail } of findings) assert.ok(ok || detail.length > 10);
  const plain = await runCli(['doctor']);
  assert.match(plain.out, /^yes {2}machine +Node v\d/);
});

test('quantize: what was done, a status line on terminals only', async () => {
  const args = ['quantize', tiny, '--precision', 'int8', '--out'];
  const piped = await runCli([...args, join(scratch, 'q1'), '--json']);
  assert.equal(piped.code, 0, piped.err);
  const { bytes, bytesBefore, ...rest } = JSON.parse(piped.out);
  assert.deepEqual(rest, { directory: join(scratch, 'q1'), precision: 'int8', matrices: 0 });
  // The head is tied: what the file has besides the embeddings is not written again.
  assert.equal(bytesBefore - bytes, 620 * 32 * 4);
  assert.match(piped.err, /no matrix is large enough to be worth quantizing/);
  const clear = '\r\u001b[K';
  assert.ok(!piped.err.includes(clear));
  const terminal = await runCli([...args, join(scratch, 'q2')], { isTerminal: true });
  assert.equal(terminal.out, '');
  assert.ok(terminal.err.includes(`${clear}quantizing model.decoder.layers.0.fc1.weight …${clear}`));
  assert.ok(terminal.err.lastIndexOf(clear) < terminal.err.indexOf('varyclip: wrote'));
  const again = await runCli([...args, join(scratch, 'q2')]);
  assert.equal(again.code, 2);
  assert.match(again.err, /q2: is a directory that is not empty/);
  const inspected = await runCli(['inspect', join(scratch, 'q2')]);
  assert.match(inspected.out, /^decoder +stored as int8$/m);
});

test('text for a terminal: lines and tabs stay, control characters do not', () => {
  assert.equal(inertText('a\tb\nc\u001b[2Jd\r\u0007\u009be é'), 'a\tb\nc\ufffd[2Jd\ufffd\ufffd\ufffde é');
});

test('a message stands on a line of its own, and names in it are not obeyed; a status line stays until then', () => {
  for (const isTerminal of [true, false]) {
    let written = '';
    const write = (text: string) => {
      written += text;
    };
    const io = ioOver({
      out: write,
      err: write,
      isTerminal,
      signal: new AbortController().signal,
      readStdin: async () => new Uint8Array(),
      workForFiles: () => undefined,
    });
    io.status('loading a\u001b[2Jb');
    io.err('varyclip: c\u001b]0;d\u0007.png: gone\n');
    io.status('reading');
    io.out('text\n');
    io.out('more\n');
    const shown = written.replaceAll('\r\u001b[K', '<clear>');
    const [loading, clear, reading] = isTerminal
      ? ['<clear>loading a\ufffd[2Jb', '<clear>', '<clear>reading']
      : ['', '', ''];
    assert.equal(shown, `${loading}${clear}varyclip: c\ufffd]0;d\ufffd.png: gone\n${reading}${clear}text\nmore\n`);
  }
});

test('what fails while something goes on is said on a line of its own', async () => {
  const { code, err } = await runCli(['read', 'x.png', '-m', 'no\u001b[2Jwhere'], { isTerminal: true });
  assert.equal(code, 2, err);
  const shown = err.replaceAll('\r\u001b[K', '<clear>');
  assert.match(shown, /^<clear>loading no\ufffd\[2Jwhere …<clear>varyclip: no\ufffd\[2Jwhere: there is no .*\n$/);
});

test('an option that there is not, with the nearest; a negative number is refused for what it is', async () => {
  await assertRefused(
    ['read', 'a.png', '--max-tokens', '3'],
    /no option --max-tokens; did you mean --max-new-tokens\?/,
  );
  await assertRefused(['read', 'a.png', '--retry', '3'], /no option --retry; did you mean --retries\?/);
  await assertRefused(['doctor', '--xyz'], /there is no option --xyz; --help lists them all/);
  await assertRefused(['doctor', '-q'], /there is no option -q; --help/);
  await assertRefused(['evaluate', scratch, '--worst', '-1'], /--worst: expected a whole number above 0, got -1/);
});

test('numbers have ranges, which are said before anything is loaded', async () => {
  const threads = /: expected a whole number above 0 and at most \d+, got 99999; more threads than cores \(\d+ here\)/;
  for (const args of [
    ['read', 'a.png', '--threads', '99999'],
    ['read', 'a.png', '--out', 'o', '--jobs', '99999'],
    ['classify', 'a.png', '-l', 'a,b', '--threads', '99999'],
    ['index', scratch, '--out', join(scratch, 'i'), '--workers', '99999'],
    ['bench', 'token', '--threads', '99999'],
  ]) {
    await assertRefused(args, threads);
  }
  // A folder is no model: these are refused before it is looked at.
  const job = ['read', 'a.png', '--out', join(scratch, 'job'), '-m', scratch];
  const seconds = '--time-limit: expected a number above 0 and at most 2147483';
  for (const [option, value, message] of [
    ['--time-limit', '2147484', seconds],
    ['--time-limit', '0', seconds],
    ['--time-limit', '-1', seconds],
    ['--max-error-rate', '2', '--max-error-rate: expected a number from 0 to 1'],
    ['--max-error-rate', '-1', '--max-error-rate: expected a number from 0 to 1'],
    ['--dpi', '17', '--dpi: expected a number from 18 to 2400'],
  ] as const) {
    await assertRefused([...job, option, value], new RegExp(`${message}, got ${value}$`, 'm'));
  }
});

test('a path that cannot be asked is wrong input, whatever it is for', async () => {
  const file = join(scratch, 'a-file');
  writeFileSync(file, 'text');
  for (const path of [join(file, 'x'), makeLinkLoop(join(scratch, 'a-loop')), join(scratch, longName), 'a\0b']) {
    for (const args of [
      ['read', 'a.png', '-m', path],
      ['read', 'a.png', '--html', path],
      ['inspect', path],
      ['train', path],
      ['search', path, 'dog'],
      ['index', scratch, '--out', path],
      ['embed', 'a.png', '--out', path],
      ['quantize', tiny, '--precision', 'int8', '--out', path],
      ['init', 'vary-nano', '--out', path],
      ['init', 'vary-tiny', '--decoder', path, '--tower', file],
    ]) {
      await assertRefused(args, /: cannot be looked at: (.* is no directory|its (name|links) )/);
    }
  }
  await assertRefused(['index', scratch, '--out', file], /a-file is no directory/);
});

test('a byte order mark is no part of a list’s first path, or of a run file', async () => {
  const list = join(scratch, 'list');
  writeFileSync(list, '\ufeffa.png\r\n\nb.png\n');
  const shard = { rank: 0, size: 1, from: 'test' };
  const pathsFrom = (given: string, io: Partial<Io>) =>
    pathsOf(parseArguments(['--list', given], listOption), io as Io, shard);
  assert.deepEqual(await pathsFrom(list, {}), ['a.png', 'b.png']);
  assert.deepEqual(await pathsFrom('-', { readStdin: async () => readFileSync(list) }), ['a.png', 'b.png']);
  const endless = pathsFrom('-', { readStdin: async () => Buffer.alloc(constants.MAX_STRING_LENGTH + 1) });
  await assert.rejects(endless, { name: 'InputError', message: /^--list -: expected a list of paths, got \d+ bytes/ });
  const run = join(scratch, 'run.json');
  writeFileSync(run, '\ufeff{"task":"nothing"}');
  await assertRefused(['train', run], /run.json: task: /);
});

test('what would have no effect, or is beyond what is documented, is refused', async () => {
  for (const [args, message] of [
    [['read', 'a.png', '-m', 'a', '--model', 'b'], /--model: is given more than once; give it once/],
    [['read', 'a.png', '--json', '--json'], /--json: is given more than once/],
    [['read', 'a.png', '--retries', '3'], /--retries: expected a whole number from 0 to 2, got 3/],
    [['read', 'a.png', '-o', join(scratch, 'o'), '--retries', '99'], /--retries: expected a whole number from 0 to 2/],
    [['read', 'a.png', '--seed', '1.5'], /--seed: expected a whole number from 0, got 1.5/],
    [['init', 'vary-nano', '-o', join(scratch, 'i'), '--seed', '-1'], /--seed: expected a whole number from 0, got -1/],
    [['init', 'vary-nano', '-o', join(scratch, 'i'), '--positions', '5'], /--positions goes with --decoder/],
    [['search', scratch, 'dog', '--threshold', '0.5'], /--threshold goes with --duplicates/],
    [['embed', '--text', 'dog', '--text', ''], /--text: expected words, got an empty text/],
    [
      ['embed', 'a.png', '--text', 'a', '--matrix', join(scratch, 'm.svg'), '--json'],
      /--matrix does not go with --json/,
    ],
    [['index', scratch, '-o', join(scratch, 'x'), '--texts', join(scratch, 'nowhere')], /nowhere: there is no reading/],
    [['serve', '-p', '-1'], /--port: expected a whole number from 0 to 65535, got -1/],
    [['read', 'a.png', '-p', '-x'], /^[^\n]* argument is ambiguous[^\n]*\n$/],
  ] as const) {
    await assertRefused(args, message);
  }
});

test('a launcher’s numbers are numbers: an empty one is none', () => {
  const slurm = (rank: string, size: string) => shardOf({ SLURM_PROCID: rank, SLURM_STEP_NUM_TASKS: size });
  assert.deepEqual(slurm('1', '3'), { rank: 1, size: 3, from: 'Slurm' });
  for (const wrong of ['', ' ', '0x1', '1e0', '-1', '1.0', '+1']) {
    const said = { name: 'InputError', message: /: expected a whole number from 0, got "/ };
    assert.throws(() => slurm(wrong, '3'), said, wrong);
    assert.throws(() => slurm('1', wrong), said, wrong);
    assert.throws(() => shardOf({ JOB_COMPLETION_INDEX: wrong }, { shards: 2 }), said, wrong);
  }
  assert.throws(() => slurm('3', '3'), /Slurm: expected a rank from 0 below the number of processes, got 3 of 3/);
});

test('an argument too many is refused by name', async () => {
  for (const [args, extra] of [
    [['doctor', 'x'], 'x'],
    [['train', 'a.json', 'b.json'], 'b.json'],
    [['init', 'vary-nano', 'dir'], 'dir'],
    [['bench', 'tower', 'page'], 'page'],
    [['serve', 'model'], 'model'],
  ] as const) {
    await assertRefused(args, new RegExp(`${args[0]}: ${extra} is one argument too many`));
  }
});

test('a standard output that cannot be written is a failure that is said', () => {
  const out = openSync(examplePath('page.txt'), 'r');
  try {
    const { status, stderr } = spawnSync(process.execPath, [binPath, '--help'], { stdio: ['ignore', out, 'pipe'] });
    assert.equal(status, 1);
    assert.match(String(stderr), /^varyclip: standard output cannot be written: .*EBADF/);
  } finally {
    closeSync(out);
  }
});

test('serve: what is wrong with its arguments is said before anything is loaded', async () => {
  const key = join(scratch, 'key');
  writeFileSync(key, 'zwei Wörter\n');
  for (const [args, message] of [
    [['--port', '65536'], /--port: expected a whole number from 0 to 65535/],
    [['--port', 'http'], /--port/],
    [['--host', ''], /--host: expected an address to listen on, got an empty text/],
    [['--api-key-file', join(scratch, 'nothing')], /--api-key-file .*cannot be read/],
    [['--api-key-file', key], /the key has characters/],
    [['--api-key', ''], /the key is empty/],
    [['--api-key', 'a', '--api-key-file', key], /not both/],
    [['--allow-host', 'https://example.org/a'], /--allow-host: expected a host/],
    [['--max-tokens', '0'], /--max-tokens/],
    [['--parse-seconds', '9999999'], /parseSeconds: expected from 0 to 2147483/],
    [['--slots', '99999'], /--slots: expected a whole number above 0 and at most 1024/],
    [
      ['--image-threads', '9999'],
      /--image-threads: expected a whole number above 0 and at most \d+, got 9999; more threads than cores/,
    ],
    [['--device', 'abacus'], /--device/],
    [['--precision', 'int2'], /--precision/],
    // The first model is a good one: it is not loaded for that.
    [['--model', tiny, '--model', 'nothing-here'], /nothing-here: there is no such checkpoint/],
    [['--model', tiny, '--model', tiny], /two models have the name tiny-vary/],
    [['--model', tiny, '--index', join(scratch, 'no-index')], /there is no index/],
  ] as const) {
    const { code, out, err } = await runCli(['serve', ...(args[0] === '--port' ? [] : ['--port', '0']), ...args]);
    assert.deepEqual([code, /"ready"/.test(err)], [2, false], `${args.join(' ')}: ${err}`);
    assert.match(err, message);
    assert.deepEqual([out, /"listening"/.test(err)], ['', false], args.join(' '));
  }
});
