import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';

/** What texts are encoded with. */
export const tokenizerFiles = [
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.json',
  'merges.txt',
  'added_tokens.json',
  'special_tokens_map.json',
] as const;

/** The files of a checkpoint beside its weights: what configures, tokenizes, describes and licenses it. */
export const sideFiles: readonly string[] = [
  'config.json',
  'generation_config.json',
  'preprocessor_config.json',
  'processor_config.json',
  ...tokenizerFiles,
  'spiece.model',
  'README.md',
  'LICENSE',
  'LICENSE.md',
  'LICENSE.txt',
];

/** Copies what there is of them from one checkpoint directory to another. */
export function copySideFiles(from: string, to: string): void {
  for (const name of sideFiles) if (existsSync(join(from, name))) copyFileSync(join(from, name), join(to, name));
}
