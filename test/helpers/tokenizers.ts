import { existsSync, readFileSync } from 'node:fs';
import { createTokenizer, type Tokenizer } from '../../src/text/tokenizer.js';
import type { TokenizerFiles } from '../../src/text/tokenizer-files.js';
import { fixturePath } from './fixtures.js';

/** The tokenizer files of a fixture folder; a file that is not there is left out, like one named in `without`. */
export function tokenizerFiles(folder: string, without: readonly string[] = []): TokenizerFiles {
  const read = (name: string) => {
    const path = fixturePath(`${folder}/${name}`);
    return without.includes(name) || !existsSync(path) ? undefined : readFileSync(path, 'utf8');
  };
  const json = (name: string): unknown => {
    const text = read(name);
    return text === undefined ? undefined : JSON.parse(text);
  };
  return {
    tokenizerJson: json('tokenizer.json'),
    tokenizerConfig: json('tokenizer_config.json'),
    vocabJson: json('vocab.json'),
    mergesTxt: read('merges.txt'),
    addedTokens: json('added_tokens.json'),
    specialTokensMap: json('special_tokens_map.json'),
  };
}

/** The tokenizer of tokenizer-opt: 620 tokens in OPT's layout with Vary's three. */
export function optTokenizer(without: readonly string[] = []): Tokenizer {
  return createTokenizer(tokenizerFiles('tokenizer-opt/tokenizer', without));
}
