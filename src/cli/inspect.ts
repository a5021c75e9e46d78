import { InputError, messageOf } from '../core/errors.js';
import { asObject } from '../core/json.js';
import { sizeOf } from '../core/tensor.js';
import { nameDecoderWeights } from '../infer/weights.js';
import type { EncoderConfig } from '../models/transformer-encoder.js';
import { openWeights, readConfig, readTokenizer } from '../node/checkpoint-dir.js';
import { resolveModel } from '../node/hub/resolve.js';
import { hubSettings } from '../node/hub/settings.js';
import { checkClipWeights, isClipPath, nameClipWeights, openClip } from '../node/load-clip.js';
import { checkWeights, familyOf } from '../node/load-model.js';
import { imageTokensOf } from '../text/image-tokens.js';
import type { Checkpoint } from '../weights/checkpoint.js';
import type { Command } from './command.js';

interface Report {
  directory: string;
  architecture?: string;
  /** Of the decoder's matrices, where they are quantized. */
  precision?: string;
  parameters?: number;
  tensors?: number;
  dtypes?: Record<string, number>;
  tokenizer?: string;
  problems: string[];
}

export const inspectCommand: Command = {
  usage: 'varyclip inspect DIR [--json]',
  options: { json: { type: 'boolean', help: 'one JSON document' } },
  run: async (args, io) => {
    const [dir, ...more] = args.positionals;
    if (dir === undefined || more.length > 0) throw new InputError('inspect: name one checkpoint directory');
    const report = await inspect(await resolveModel(dir, { settings: hubSettings(process.env) }));
    io.out(args.flag('json') ? `${JSON.stringify(report)}\n` : printed(report));
    return report.problems.length === 0 ? 0 : 1;
  },
};

/** A two-tower checkpoint in any layout. */
async function inspectClip(path: string): Promise<Report> {
  const report: Report = { directory: path, problems: [] };
  const { config, checkpoint, tokenizer } = await openClip(path);
  try {
    const tower = ({ width, layers, heads }: EncoderConfig) => `width ${width}, ${layers} layers, ${heads} heads`;
    const { text, vision, embedWidth, family } = config;
    const image = `image tower ${vision.imageSize}×${vision.imageSize} in patches of ${vision.patchSize}, ${tower(vision)}`;
    const words = `text tower ${tower(text)}, ${text.vocabSize} tokens, ${text.maxPositions} positions`;
    report.architecture = `${family}: ${image}; ${words}; embeddings of ${embedWidth}`;
    describeTensors(checkpoint, report);
    report.tokenizer = tokenizer ? `${tokenizer.size} ids` : 'none';
    checkClipWeights(config, nameClipWeights(checkpoint), 'float32');
  } catch (error) {
    report.problems.push(messageOf(error));
  } finally {
    checkpoint.dispose();
  }
  return report;
}

function describeTensors(checkpoint: Checkpoint, report: Report): void {
  const infos = checkpoint.names.map((name) => checkpoint.info(name));
  report.tensors = infos.length;
  report.parameters = infos.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  report.dtypes = {};
  for (const { dtype, shape } of infos) report.dtypes[dtype] = (report.dtypes[dtype] ?? 0) + sizeOf(shape);
}

async function inspect(dir: string): Promise<Report> {
  if (isClipPath(dir)) return inspectClip(dir);
  const report: Report = { directory: dir, problems: [] };
  const attempt = async (part: () => void | Promise<void>) => {
    try {
      await part();
    } catch (error) {
      report.problems.push(messageOf(error));
    }
  };
  // Without a config.json there is nothing to inspect: that is an error, not a finding.
  const config = asObject(readConfig(dir), `${dir}/config.json`);
  await attempt(() => {
    const { family } = familyOf(dir);
    const { width, layers, heads, vocabSize, maxPositions } = family.decoder;
    const tower =
      family.kind === 'vary'
        ? `; tower ${family.vary.tower.imageSize.join('×')}, width ${family.vary.tower.width}, ${family.vary.tower.depth} blocks`
        : '';
    report.architecture = `${family.kind}: decoder width ${width}, ${layers} layers, ${heads} heads, ${vocabSize} tokens, ${maxPositions} positions${tower}`;
  });
  await attempt(async () => {
    const checkpoint = await openWeights(dir);
    try {
      describeTensors(checkpoint, report);
      const { family, rename, stored } = familyOf(dir);
      if (stored) report.precision = stored;
      checkWeights(family, await nameDecoderWeights(checkpoint, rename, family.decoder), stored ?? 'float32');
    } finally {
      checkpoint.dispose();
    }
  });
  await attempt(() => {
    const tokenizer = readTokenizer(dir);
    report.tokenizer = tokenizer ? `${tokenizer.size} ids` : 'none';
    if (tokenizer && config['model_type'] === 'vary') imageTokensOf(tokenizer, config);
    if (!tokenizer && config['model_type'] === 'vary') throw new InputError(`${dir}: has no tokenizer: it cannot read`);
  });
  report.problems = [...new Set(report.problems)];
  return report;
}

function printed({
  directory,
  architecture,
  precision,
  parameters,
  tensors,
  dtypes,
  tokenizer,
  problems,
}: Report): string {
  const rows = [
    ['directory', directory],
    ['architecture', architecture ?? 'unknown'],
    ['parameters', parameters === undefined ? 'unknown' : `${parameters.toLocaleString('en')} in ${tensors} tensors`],
    [
      'dtypes',
      Object.entries(dtypes ?? {})
        .map(([dtype, count]) => `${dtype} ${count.toLocaleString('en')}`)
        .join(', '),
    ],
    ...(precision ? [['decoder', `stored as ${precision}`]] : []),
    ['tokenizer', tokenizer ?? 'unreadable'],
    ['loads', problems.length === 0 ? 'yes' : `no:\n  ${problems.join('\n  ')}`],
  ];
  return `${rows.map(([name, value]) => `${name.padEnd(14)}${value}`).join('\n')}\n`;
}
