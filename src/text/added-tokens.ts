import { asObject, fileError, type JsonObject, optionalList, optionalObject } from './json.js';
import { asTokenId, quoted } from './vocabulary.js';

/** A token that is found in text before BPE sees it. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Left out by `skipSpecialTokens`. */
  readonly special: boolean;
  readonly singleWord: boolean;
  /** Looked for after those that are not. */
  readonly normalized: boolean;
  /** Takes the whitespace on its left, on its right. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** The same two for the slow tokenizers of transformers before 4.34. */
  readonly slowLstrip: boolean;
  readonly slowRstrip: boolean;
}

/** A special token as a config declares it: its text, or an object with flags. */
export type DeclaredToken = string | JsonObject;

/** What tokenizer_config.json and special_tokens_map.json declare: `bos_token` … → token. */
export type DeclaredTokens = ReadonlyMap<string, DeclaredToken>;

const roles = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/** The special tokens by role. The map overrides the config, except in checkpoints from 4.34 on (transformers, from_pretrained). */
export function declaredTokens(config: JsonObject, map: JsonObject): DeclaredTokens {
  const files = Object.hasOwn(config, 'added_tokens_decoder') ? [config, map] : [map, config];
  const find = (role: string) => files.map((file) => file[role]).find((token) => token !== undefined && token !== null);
  const named = roles.map((role) => [role, find(role)] as const);
  const additional = optionalList(
    find('additional_special_tokens'),
    'tokenizer_config.json: additional_special_tokens',
  );
  const numbered = additional.map((token, i) => [`additional_special_tokens[${i}]`, token] as const);
  return new Map(
    [...named, ...numbered]
      .filter(([, token]) => token !== undefined)
      .map(([role, token]) => [
        role,
        typeof token === 'string' ? token : asObject(token, `tokenizer_config.json: ${role}`),
      ]),
  );
}

/** The text of a declared token. */
export function contentOf(token: DeclaredToken, where: string): string {
  const content = typeof token === 'string' ? token : token['content'];
  if (typeof content === 'string' && content !== '') return content;
  throw fileError(where, `token content is ${JSON.stringify(content)}, expected a non-empty string`);
}

interface Draft {
  readonly id: number;
  readonly content: string;
  readonly flags: JsonObject;
  readonly file: string;
}

export interface AddedTokenFiles {
  readonly tokenizerJson: JsonObject;
  readonly config: JsonObject;
  readonly addedTokens: JsonObject;
  readonly declared: DeclaredTokens;
  readonly vocabulary: ReadonlyMap<string, number>;
}

/** The added tokens of all files together. Files that disagree about an id are an InputError. */
export function collectAddedTokens(files: AddedTokenFiles): AddedToken[] {
  const drafts = new Map<string, Draft>();
  for (const draft of draftsOf(files)) {
    const known = drafts.get(draft.content)?.id ?? files.vocabulary.get(draft.content) ?? draft.id;
    if (known !== draft.id) {
      throw fileError(draft.file, `token ${quoted(draft.content)} has id ${draft.id}, but ${known} in another file`);
    }
    if (!drafts.has(draft.content)) drafts.set(draft.content, draft);
  }
  addDeclared(drafts, files);
  refuseSharedIds(drafts, files.vocabulary);
  const byContent = new Map(
    [...files.declared.values()].map((token) => [contentOf(token, 'tokenizer_config.json'), token]),
  );
  return [...drafts.values()].map((draft) => finish(draft, byContent.get(draft.content)));
}

function draftsOf({ tokenizerJson, config, addedTokens }: AddedTokenFiles): Draft[] {
  const toDraft = (id: unknown, flags: JsonObject, file: string): Draft => {
    const content = contentOf(flags, file);
    return { id: asTokenId(id, content, file), content, flags, file };
  };
  const json = optionalList(tokenizerJson['added_tokens'], 'tokenizer.json: added_tokens');
  const file = 'tokenizer_config.json: added_tokens_decoder';
  return [
    ...json
      .map((entry) => asObject(entry, 'tokenizer.json: added_tokens'))
      .map((e) => toDraft(e['id'], e, 'tokenizer.json')),
    ...Object.entries(optionalObject(config['added_tokens_decoder'], file)).map(([id, flags]) =>
      toDraft(Number(id), asObject(flags, file), file),
    ),
    ...Object.entries(addedTokens).map(([content, id]) => toDraft(id, { content }, 'added_tokens.json')),
  ];
}

/** Special tokens usually stand in vocab.json already; a declaration gives no id. */
function addDeclared(drafts: Map<string, Draft>, { declared, vocabulary }: AddedTokenFiles): void {
  for (const [role, token] of declared) {
    const file = 'tokenizer_config.json';
    const content = contentOf(token, `${file}: ${role}`);
    const id = drafts.get(content)?.id ?? vocabulary.get(content);
    if (id === undefined) {
      throw fileError(
        file,
        `${role} ${quoted(content)} is in no vocabulary file`,
        `add it to added_tokens.json with its id`,
      );
    }
    const flags = drafts.get(content)?.flags ?? (typeof token === 'string' ? {} : token);
    drafts.set(content, { id, content, flags: { ...flags, special: true }, file });
  }
}

function refuseSharedIds(drafts: ReadonlyMap<string, Draft>, vocabulary: ReadonlyMap<string, number>): void {
  const owners = new Map([...vocabulary].map(([token, id]) => [id, token]));
  for (const { id, content, file } of drafts.values()) {
    const owner = owners.get(id) ?? content;
    if (owner !== content) throw fileError(file, `id ${id} is both ${quoted(owner)} and ${quoted(content)}`);
    owners.set(id, content);
  }
}

/**
 * The slow tokenizers strip both sides of an added token unless it is a special token with flags of its own (transformers
 * 4.32.1 tokenization_utils.py, tokenize).
 */
function finish({ id, content, flags }: Draft, declared: DeclaredToken | undefined): AddedToken {
  const isSet = (key: string, object: JsonObject = flags) => object[key] === true;
  const special = isSet('special');
  const ownFlags = special && Object.hasOwn(flags, 'lstrip') ? flags : undefined;
  const slowFlags = typeof declared === 'object' ? declared : ownFlags;
  const slow = (key: string) => slowFlags === undefined || isSet(key, slowFlags);
  return {
    id,
    content,
    special,
    singleWord: isSet('single_word'),
    normalized: flags['normalized'] === undefined ? !special : isSet('normalized'),
    lstrip: isSet('lstrip'),
    rstrip: isSet('rstrip'),
    slowLstrip: slow('lstrip'),
    slowRstrip: slow('rstrip'),
  };
}
