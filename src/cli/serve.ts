import { readFileSync } from 'node:fs';
import { InputError, messageOf } from '../core/errors.js';
import { defaultReader, defaultTwoTowers } from '../node/builtin-models.js';
import { putThreadsBehindEventLoop } from '../node/ort/priority.js';
import { type LimitName, limitNames, limitTable } from '../server/limits.js';
import { expectHost } from '../server/own-host.js';
import { createServer } from '../server/server.js';
import type { Arguments, OptionSpecs } from './arguments.js';
import type { Command, Io } from './command.js';
import { loadOptionsOf, threadsOf } from './load-options.js';

/** `maxBodyBytes` as `max-body-bytes`. */
const optionOf = (name: LimitName) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

const limitOptions: OptionSpecs = Object.fromEntries(
  limitNames.map((name) => [
    optionOf(name),
    { type: 'string', value: 'N', help: `most ${limitTable[name].help} (${limitTable[name].value})` } as const,
  ]),
);

export const serveCommand: Command = {
  usage: 'varyclip serve [--model DIR]… [options]      (without --model: the built-in models)',
  options: {
    model: {
      type: 'string',
      short: 'm',
      value: 'DIR',
      multiple: true,
      help: 'a model to serve; may be repeated (vary-nano, clip-nano)',
    },
    index: { type: 'string', value: 'INDEX', help: 'an index for POST /v1/search; its model is served too' },
    host: { type: 'string', value: 'HOST', help: 'address to listen on (127.0.0.1)' },
    port: { type: 'string', short: 'p', value: 'N', help: 'port to listen on (8000); 0 takes a free one' },
    'api-key': { type: 'string', value: 'KEY', help: 'wanted of every request but /health' },
    'api-key-file': { type: 'string', value: 'FILE', help: 'the same from the first line of a file' },
    'allow-host': { type: 'string', value: 'HOST', multiple: true, help: 'a host that images may be fetched from' },
    slots: { type: 'string', value: 'N', help: 'rows decoded together: pages (8) or lines (48)' },
    'image-threads': { type: 'string', value: 'N', help: 'threads that decode images (1)' },
    precision: { type: 'string', value: 'float32|int8|int4', help: 'of the weights (as stored)' },
    'tower-precision': { type: 'string', value: 'float32|int8', help: "of the weights of a reader's tower (float32)" },
    threads: { type: 'string', short: 't', value: 'N', help: 'threads of the models (all cores)' },
    device: { type: 'string', value: 'cpu|cuda|webgpu', help: 'where to run (cpu)' },
    'tower-segments': { type: 'string', value: 'N', help: 'parts of the tower, between which others decode (12)' },
    ...limitOptions,
  },
  mostArguments: 0,
  run: serve,
};

async function serve(args: Arguments, io: Io): Promise<number> {
  const named = args.texts('model');
  const [index, slots, imageThreads] = [
    args.text('index'),
    args.count('slots', { to: 1024 }),
    threadsOf(args, 'image-threads'),
  ];
  const host = args.text('host') ?? '127.0.0.1';
  expectHost(host, '--host');
  const where = { host, port: args.index('port', { to: 65535 }) ?? 8000 };
  const models = named.length === 0 && index === undefined ? [defaultReader, defaultTwoTowers] : named;
  const apiKey = keyOf(args);
  const server = createServer({
    models,
    allowedHosts: hostsOf(args),
    limits: limitsOf(args),
    load: { ...loadOptionsOf(args), towerSegments: args.count('tower-segments') ?? 12 },
    ...(index !== undefined && { index }),
    ...(apiKey !== undefined && { apiKey }),
    ...(slots !== undefined && { engine: { slots } }),
    ...(imageThreads !== undefined && { imageThreads }),
  });
  const stopped = new Promise<void>((resolve) => io.signal.addEventListener('abort', () => resolve(), { once: true }));
  try {
    const { url } = await server.listen(where);
    io.out(`${url}\n`);
    await Promise.race([server.loaded, stopped]);
    await putThreadsBehindEventLoop();
    await stopped;
    return 0;
  } finally {
    await server.close();
  }
}

function keyOf(args: Arguments): string | undefined {
  const [key, file] = [args.text('api-key'), args.text('api-key-file')];
  if (key !== undefined && file !== undefined)
    throw new InputError('serve: give --api-key or --api-key-file, not both');
  const found = file === undefined ? key : keyFrom(file);
  if (found === '') throw new InputError('serve: the key is empty');
  if (found !== undefined && !/^[!-~]+$/.test(found)) {
    throw new InputError(
      'serve: the key has characters that no request can carry: letters, digits and signs of ASCII alone',
    );
  }
  return found;
}

function hostsOf(args: Arguments): readonly string[] {
  const hosts = args.texts('allow-host');
  const wrong = hosts.find((host) => !/^(\[[0-9a-f:.]+\]|[^\s/:@?#]+)(:\d+)?$/i.test(host));
  if (wrong === undefined) return hosts;
  throw new InputError(
    `--allow-host: expected a host, as in images.example.org or images.example.org:8443, got ${wrong}`,
  );
}

function keyFrom(file: string): string {
  try {
    return readFileSync(file, 'utf8').split('\n', 1)[0].trim();
  } catch (cause) {
    throw new InputError(`--api-key-file ${file}: cannot be read: ${messageOf(cause)}`, { cause });
  }
}

function limitsOf(args: Arguments): { readonly [K in LimitName]?: number } {
  return Object.fromEntries(
    limitNames.flatMap((name) => {
      const value = args.count(optionOf(name));
      return value === undefined ? [] : [[name, value]];
    }),
  );
}
