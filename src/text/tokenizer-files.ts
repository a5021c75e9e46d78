import {
  type AddedToken,
  collectAddedTokens,
  contentOf,
  type DeclaredToken,
  type DeclaredTokens,
  declaredTokens,
} from './added-tokens.js';
import { clipTokenizerJson, hasWordEnds, wordEnd } from './clip-text.js';
import { asObject, fileError, type JsonObject, optionalObject } from './json.js';
import { missingBytes, parseMerges, parseMergesTxt, parseVocabulary } from './vocabulary.js';

/** The parsed contents of a checkpoint's tokenizer files; all but merges.txt are JSON. */
export interface TokenizerFiles {
  readonly tokenizerJson?: unknown;
  readonly tokenizerConfig?: unknown;
  readonly vocabJson?: unknown;
  readonly mergesTxt?: string | undefined;
  readonly addedTokens?: unknown;
  readonly specialTokensMap?: unknown;
}

/** What the files say, checked. */
export interface TokenizerSpec {
  /** The file that has the model, for messages. */
  readonly file: string;
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly added: readonly AddedToken[];
  readonly declared: DeclaredTokens;
  readonly config: JsonObject;
  /** Put a space before every stretch of text that does not begin with one. */
  readonly prefixSpace: boolean;
  /** CLIP's: text is folded first, and words end in `</w>`. */
  readonly wordEnds: boolean;
  /** tokenizer.json for the library, without added tokens: those are ours. */
  readonly library: JsonObject;
}

/**
 * The split of GPT-2 (openai/gpt-2 encoder.py). @huggingface/tokenizers 0.2.0 has it as a JavaScript regex, whose \s takes
 * U+FEFF and leaves U+0085; as a Split pattern the library translates \s to White_Space, which is what Rust and Python match.
 */
const gpt2Split = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/** Checks the files and brings both layouts into one form. tokenizer.json is used where it is present. */
export function readTokenizerFiles(files: TokenizerFiles): TokenizerSpec {
  const config = optionalObject(files.tokenizerConfig, 'tokenizer_config.json');
  const given = files.tokenizerJson !== undefined && files.tokenizerJson !== null;
  const file = given ? 'tokenizer.json' : 'vocab.json';
  const tokenizerJson = given ? checkedTokenizerJson(files.tokenizerJson) : tokenizerJsonOf(files, config);
  const model = asObject(tokenizerJson['model'], 'tokenizer.json: model');
  const vocabulary = parseVocabulary(model['vocab'], given ? 'tokenizer.json: model.vocab' : file);
  const mergesFile = given ? 'tokenizer.json: model.merges' : 'merges.txt';
  const merges = parseMerges(model['merges'], vocabulary, mergesFile);
  const declared = declaredTokens(config, optionalObject(files.specialTokensMap, 'special_tokens_map.json'));
  const addedTokens = optionalObject(files.addedTokens, 'added_tokens.json');
  const added = collectAddedTokens({ tokenizerJson, config, addedTokens, declared, vocabulary });
  const unknown = unknownToken({ model, declared, vocabulary, added, file });
  const preTokenizer = asObject(tokenizerJson['pre_tokenizer'], 'tokenizer.json: pre_tokenizer');
  const wordEnds = model['end_of_word_suffix'] === wordEnd;
  return {
    file,
    vocabulary,
    added,
    declared,
    config,
    prefixSpace: (configDecides(config) ? config : preTokenizer)['add_prefix_space'] === true,
    wordEnds,
    library: {
      ...tokenizerJson,
      added_tokens: [],
      // CLIP's is foldText: the library's \s and lower case are JavaScript's.
      normalizer: wordEnds ? null : (tokenizerJson['normalizer'] ?? null),
      post_processor: tokenizerJson['post_processor'] ?? null,
      pre_tokenizer: withExactWhitespace(preTokenizer, configDecides(config)),
      decoder: null,
      // Object.fromEntries defines own fields, so that a token `__proto__` is a token.
      model: {
        ...model,
        type: 'BPE',
        vocab: Object.fromEntries([...vocabulary, ...unknown]),
        merges,
        unk_token: unknown[0]?.[0],
      },
    },
  };
}

/**
 * Whether tokenizer_config.json decides on the prefix space, whatever tokenizer.json says: for GPT-2's classes, which OPT has too
 * (transformers models/gpt2/tokenization_gpt2.py), and where it says so itself and names no class.
 */
function configDecides(config: JsonObject): boolean {
  const { tokenizer_class: name } = config;
  return name === undefined || name === null
    ? Object.hasOwn(config, 'add_prefix_space')
    : name === 'GPT2Tokenizer' || name === 'GPT2TokenizerFast';
}

/** The tokenizer.json that GPT2TokenizerFast would write for the older layout. */
function tokenizerJsonOf({ vocabJson, mergesTxt }: TokenizerFiles, config: JsonObject): JsonObject {
  const missing = vocabJson === undefined ? 'vocab.json' : mergesTxt === undefined ? 'merges.txt' : undefined;
  if (missing !== undefined) {
    throw fileError(
      missing,
      'not found, and there is no tokenizer.json; a tokenizer needs tokenizer.json, or vocab.json and merges.txt',
    );
  }
  const rules = parseMergesTxt(mergesTxt, 'merges.txt');
  if (hasWordEnds(vocabJson)) {
    const vocabulary = asObject(vocabJson, 'vocab.json');
    const special = (role: string, other: string) =>
      config[role] === undefined ? other : contentOf(config[role] as DeclaredToken, `tokenizer_config.json: ${role}`);
    const start = special('bos_token', '<|startoftext|>');
    return clipTokenizerJson(vocabulary, rules, { start, end: special('eos_token', '<|endoftext|>') });
  }
  const prefixSpace = config['add_prefix_space'] === true;
  return {
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: prefixSpace, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab: vocabJson, merges: rules },
  };
}

const supported = 'use a checkpoint with a byte-level BPE tokenizer (GPT-2, OPT, CLIP)';

function checkedTokenizerJson(value: unknown): JsonObject {
  const json = asObject(value, 'tokenizer.json');
  const model = asObject(json['model'], 'tokenizer.json: model');
  const type = model['type'] ?? 'BPE';
  if (type !== 'BPE')
    throw fileError('tokenizer.json', `model type is ${JSON.stringify(type)}, expected "BPE"`, supported);
  const affixes = [['end_of_word_suffix', wordEnd] as const, ['continuing_subword_prefix', ''] as const];
  const affix = affixes.find(([key, allowed]) => !['', allowed].includes((model[key] ?? '') as string));
  if (affix) throw fileError('tokenizer.json', `model.${affix[0]} is set, expected byte-level BPE`, supported);
  if (!hasByteLevel(json['pre_tokenizer'])) {
    throw fileError('tokenizer.json', 'pre_tokenizer has no ByteLevel step', supported);
  }
  return json;
}

function stepsOf(node: JsonObject): readonly unknown[] {
  const steps = node['pretokenizers'];
  return node['type'] === 'Sequence' && Array.isArray(steps) ? steps : [];
}

function hasByteLevel(node: unknown): boolean {
  const object = optionalObject(node, 'tokenizer.json: pre_tokenizer');
  return object['type'] === 'ByteLevel' || stepsOf(object).some(hasByteLevel);
}

/**
 * A ByteLevel step that splits by itself, as a Split by the same pattern and a ByteLevel step that does not. Its prefix space is the
 * encoder's, but within a sequence: there each piece that comes to it gets one, which the library does, unless the config decides.
 */
function withExactWhitespace(node: unknown, decided: boolean, within = false): JsonObject {
  const object = asObject(node, 'tokenizer.json: pre_tokenizer');
  const sequence = (pretokenizers: readonly unknown[]) => ({ type: 'Sequence', pretokenizers });
  if (object['type'] === 'Sequence')
    return sequence(stepsOf(object).map((step) => withExactWhitespace(step, decided, true)));
  if (object['type'] !== 'ByteLevel' || (within && !decided && object['add_prefix_space'] === true)) return object;
  const bytes = { ...object, add_prefix_space: false, use_regex: false };
  if (object['use_regex'] === false) return bytes;
  return sequence([{ type: 'Split', pattern: { Regex: gpt2Split }, behavior: 'Removed', invert: true }, bytes]);
}

interface UnknownTokenContext extends Pick<TokenizerSpec, 'declared' | 'vocabulary' | 'added' | 'file'> {
  readonly model: JsonObject;
}

/**
 * The token for bytes that the vocabulary lacks: [[token, id]], or [] where none is declared. Without one the library would
 * drop such bytes silently, so then the vocabulary must have all 256.
 */
function unknownToken({
  model,
  declared,
  vocabulary,
  added,
  file,
}: UnknownTokenContext): (readonly [string, number])[] {
  const token = model['unk_token'] ?? declared.get('unk_token');
  const content = token === undefined ? undefined : contentOf(token as string, `${file}: unk_token`);
  if (content !== undefined) {
    const id = vocabulary.get(content) ?? added.find((entry) => entry.content === content)?.id;
    if (id !== undefined) return [[content, id]];
    throw fileError(file, `unk_token ${JSON.stringify(content)} is not in the vocabulary`);
  }
  const missing = missingBytes(vocabulary);
  if (missing.length === 0) return [];
  throw fileError(
    file,
    `no token for ${missing.length} of the 256 bytes (the first is ${missing[0]}), and no unk_token is declared`,
  );
}
