import type { AddedToken } from './added-tokens.js';

/** A stretch of plain text, or an added token found between two. */
export type Section = string | AddedToken;

/** 'keep': as fast tokenizers. 'reference': as the slow ones of transformers 4.32.1, which Vary was trained with. */
export type Whitespace = 'keep' | 'reference';

/** Rust's \\w. */
const wordChar = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]';
const [endsInWord, beginsWithWord] = [new RegExp(`${wordChar}$`, 'u'), new RegExp(`^${wordChar}`, 'u')];

/**
 * Cuts text at added tokens, the longest one first where several begin. Whitespace goes where a token takes it. Fast tokenizers look for
 * tokens that are not normalized first, and for the others in what is left.
 */
export function createSplitter(added: readonly AddedToken[]): (text: string, whitespace: Whitespace) => Section[] {
  const cutterOf = (tokens: readonly AddedToken[]) => (tokens.length === 0 ? [] : [createCutter(tokens)]);
  const fast = [false, true].flatMap((normalized) =>
    cutterOf(added.filter((token) => token.normalized === normalized)),
  );
  const slow = cutterOf(added);
  return (text, whitespace) => {
    let sections: Section[] = [text];
    for (const cut of whitespace === 'reference' ? slow : fast) {
      sections = sections.flatMap((part) => (typeof part === 'string' ? trimAround(cut(part), whitespace) : [part]));
    }
    return sections;
  };
}

/** Text in turn with tokens: text, token, text, …, text. */
function createCutter(tokens: readonly AddedToken[]): (text: string) => Section[] {
  const byContent = new Map(tokens.map((token) => [token.content, token]));
  const longestFirst = tokens.toSorted((a, b) => b.content.length - a.content.length);
  const pattern = new RegExp(longestFirst.map(({ content }) => escaped(content)).join('|'), 'gu');
  return (text) => {
    const sections: Section[] = [];
    let end = 0;
    for (const { 0: content, index } of text.matchAll(pattern)) {
      const token = byContent.get(content) as AddedToken;
      const after = index + content.length;
      // What is a part of a word is passed over, with any token within it.
      if (token.singleWord && isWithinWord(text, index, after)) continue;
      sections.push(text.slice(end, index), token);
      end = after;
    }
    sections.push(text.slice(end));
    return sections;
  };
}

const isWithinWord = (text: string, start: number, end: number): boolean =>
  endsInWord.test(text.slice(Math.max(0, start - 2), start)) || beginsWithWord.test(text.slice(end, end + 2));

const escaped = (content: string): string => content.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');

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
