// Learns CLIP's byte-level BPE from counted words (Sennrich et al., arXiv 1508.07909).
import { charOfByte } from '../../dist/src/text/byte-level.js';

const wordEnd = '</w>';
const wordPattern = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+/gu;

/** Counts the words of texts into `counts`, as CLIP's tokenizer splits them. */
export function countWords(texts, counts, weight = 1) {
  for (const text of texts)
    for (const [word] of text.normalize('NFC').toLowerCase().matchAll(wordPattern))
      counts.set(word, (counts.get(word) ?? 0) + weight);
}

/** `vocab` and `merges` in CLIP's layout: bytes, bytes that end words, merges, the two special tokens. */
export function learnBytePairs(counts, mergeCount) {
  const words = [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([word, count]) => {
      const parts = Array.from(new TextEncoder().encode(word), charOfByte);
      parts[parts.length - 1] += wordEnd;
      return { parts, count };
    });
  const merges = [];
  while (merges.length < mergeCount) {
    const best = commonest(words);
    if (!best) break;
    merges.push(best);
    const [first, second] = best.split(' ');
    for (const word of words) word.parts = joined(word.parts, first, second);
  }
  const bytes = Array.from({ length: 256 }, (_, byte) => charOfByte(byte));
  const tokens = [
    ...bytes,
    ...bytes.map((char) => char + wordEnd),
    ...new Set(merges.map((pair) => pair.replace(' ', ''))),
    '<|startoftext|>',
    '<|endoftext|>',
  ];
  return { vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges };
}

function commonest(words) {
  const pairs = new Map();
  for (const { parts, count } of words)
    for (let i = 0; i + 1 < parts.length; i++) {
      const pair = `${parts[i]} ${parts[i + 1]}`;
      pairs.set(pair, (pairs.get(pair) ?? 0) + count);
    }
  let best;
  for (const [pair, count] of pairs) if (count > 1 && (!best || count > pairs.get(best))) best = pair;
  return best;
}

function joined(parts, first, second) {
  const out = [];
  for (let i = 0; i < parts.length; i++) {
    if (parts[i] === first && parts[i + 1] === second) {
      out.push(first + second);
      i++;
    } else out.push(parts[i]);
  }
  return out;
}
