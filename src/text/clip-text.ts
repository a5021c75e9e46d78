// What CLIP's tokenizer does besides byte-level BPE (transformers CLIPTokenizerFast): text is folded first, words end in </w>.
import type { JsonObject } from './json.js';

/** Closes the last token of every word of CLIP's vocabulary. */
export const wordEnd = '</w>';

/** CLIP's split (openai/CLIP simple_tokenizer.py), on text that is lower case already. */
const clipSplit = String.raw`'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`;

/**
 * NFC, whitespace runs to one space, lower case. Case is folded character by character, as the fast tokenizer does: a final
 * capital sigma becomes σ, where toLowerCase of the word would give ς.
 */
export function foldText(text: string): string {
  const spaced = text.normalize('NFC').replace(/\p{White_Space}+/gu, ' ');
  return Array.from(spaced, (char) => char.toLowerCase()).join('');
}

/** Whether a vocabulary is CLIP's: every printable character is there as the end of a word too. */
export function hasWordEnds(vocabulary: unknown): boolean {
  return typeof vocabulary === 'object' && vocabulary !== null && Object.hasOwn(vocabulary, `a${wordEnd}`);
}

/** The parts of the tokenizer.json that CLIPTokenizerFast writes for vocab.json and merges.txt; special tokens are given. */
export function clipTokenizerJson(
  vocabulary: Readonly<Record<string, unknown>>,
  merges: readonly string[],
  { start, end }: { readonly start: string; readonly end: string },
): JsonObject {
  return {
    added_tokens: [start, end].map((content) => ({ id: vocabulary[content], content, special: true })),
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: clipSplit }, behavior: 'Removed', invert: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: 'RobertaProcessing',
      cls: [start, vocabulary[start]],
      sep: [end, vocabulary[end]],
      trim_offsets: false,
      add_prefix_space: false,
    },
    model: { type: 'BPE', vocab: vocabulary, merges, end_of_word_suffix: wordEnd, unk_token: end },
  };
}
