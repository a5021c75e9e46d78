import type { AddedToken } from './added-tokens.js';

/** A stretch of plain text, or an added token found between two. */
export type Section = string | AddedToken;

/** 'keep': as fast tokenizers. 'reference': as the slow ones of transformers 4.32.1, which Vary was trained with. */
export type Whitespace = 'keep' | 'reference';

const wordChars = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]';

/** Cuts text at added tokens, the longest one first where several begin. Whitespace goes where a token takes it. */
export function createSplitter(added: readonly AddedToken[]): (text: string, whitespace: Whitespace) => Section[] {
  if (added.length === 0) return (text) => [text];
  const byContent = new Map(added.map((token) => [token.content, token]));
  const longestFirst = added.toSorted((a, b) => b.content.length - a.content.length);
  const pattern = new RegExp(longestFirst.map(patternOf).join('|'), 'gu');
  return (text, whitespace) => trimAround(cut(text, pattern, byContent), whitespace);
}

function patternOf({ content, singleWord }: AddedToken): string {
  const escaped = content.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
  return singleWord ? `(?<!${wordChars})${escaped}(?!${wordChars})` : escaped;
}

function cut(text: string, pattern: RegExp, byContent: ReadonlyMap<string, AddedToken>): Section[] {
  const sections: Section[] = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    sections.push(text.slice(end, match.index), byContent.get(match[0])!);
    end = match.index + match[0].length;
  }
  sections.push(text.slice(end));
  return sections;
}

/** `sections` alternates: text, token, text, …, text. */
function trimAround(sections: Section[], whitespace: Whitespace): Section[] {
  const slow = whitespace === 'reference';
  for (let i = 1; i < sections.length; i += 2) {
    const token = sections[i] as AddedToken;
    if (slow ? token.slowLstrip : token.lstrip) sections[i - 1] = trimEnd(sections[i - 1] as string, slow);
    if (slow ? token.slowRstrip : token.rstrip) sections[i + 1] = trimStart(sections[i + 1] as string, slow);
  }
  return sections;
}

/**
 * Unicode's White_Space, as Rust strips it; Python's str.strip also takes U+001C–U+001F. JavaScript's trim is neither: it
 * takes U+FEFF and leaves U+0085.
 */
function isSpace(char: string, python: boolean): boolean {
  return /\p{White_Space}/u.test(char) || (python && char >= '\u001c' && char <= '\u001f');
}

/** Text without the whitespace at its start. `python`: as str.lstrip. */
export function trimStart(text: string, python: boolean): string {
  let start = 0;
  while (start < text.length && isSpace(text[start], python)) start++;
  return text.slice(start);
}

/** Text without the whitespace at its end. `python`: as str.rstrip. */
export function trimEnd(text: string, python: boolean): string {
  let end = text.length;
  while (end > 0 && isSpace(text[end - 1], python)) end--;
  return text.slice(0, end);
}
