/** What all kinds of run that train a Vary have in common. */
import { join } from 'node:path';
import { InputError } from '../../core/errors.js';
import { asObject, type JsonObject } from '../../core/json.js';
import { renameVaryTensor, varyConfigFrom } from '../../models/vary.js';
import type { Runtime } from '../../runtime/runtime.js';
import { imageTokensOf } from '../../text/image-tokens.js';
import { promptStyleFrom } from '../../text/prompt-style.js';
import { readConfig, readTokenizer } from '../checkpoint-dir.js';
import { directoryExists } from '../files.js';
import type { Kind, Start } from './kind.js';
import type { VaryRun } from './run-file.js';
import { decoderStart } from './start-weights.js';
import { expectTemplate } from './template.js';

/** Opens the Vary checkpoint that a run starts from. Throws InputError saying what does not fit. */
export function openVaryStart(run: VaryRun, runtime: Runtime): Start {
  const dir = run.start;
  if (!directoryExists(dir)) throw new InputError(`start: ${dir}: there is no such checkpoint directory`);
  const where = join(dir, 'config.json');
  const json = asObject(readConfig(dir), where);
  if (json['model_type'] !== undefined && json['model_type'] !== 'vary') {
    throw new InputError(
      `${where}: model_type: expected vary, got ${JSON.stringify(json['model_type'])}; make one with: varyclip init vary-tiny`,
    );
  }
  const config = varyConfigFrom(json, where);
  const tokenizer = readTokenizer(dir);
  if (!tokenizer) throw new InputError(`start: ${dir}: has no tokenizer files`);
  if (tokenizer.size > config.decoder.vocabSize) {
    throw new InputError(
      `start: ${dir}: its tokenizer has ${tokenizer.size} tokens, its model ${config.decoder.vocabSize}; take both from one checkpoint`,
    );
  }
  if (run.task !== 'ctc') {
    const plain = { template: 'plain', turnSignal: '' } as const;
    expectTemplate(run.task === 'conversations' ? run : plain, promptStyleFrom(json, where), where);
  }
  return { dir, json, config, tokenizer, imageTokens: imageTokensOf(tokenizer, json), runtime };
}

/** What of a kind follows from its being a Vary. */
export function varyKind(
  run: VaryRun,
  { dir, config }: Start,
): Pick<Kind<unknown>, 'start' | 'unit' | 'trainerOptions'> & { readonly settings: JsonObject } {
  return {
    start: decoderStart(dir, renameVaryTensor, config.decoder),
    unit: 'tokens',
    trainerOptions: {
      dropout: { hidden: run.dropout, attention: run.attentionDropout },
      activationCheckpointing: run.activationCheckpointing,
    },
    settings: {
      ...(run.dropout > 0 && { dropout: run.dropout }),
      ...(run.attentionDropout > 0 && { attentionDropout: run.attentionDropout }),
    },
  };
}
