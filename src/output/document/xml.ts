import { escapeHtml } from '../html.js';

/** What XML 1.0 does not allow: control characters, halves of surrogate pairs, two noncharacters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that must not be there.
const forbidden = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ud800-\udfff\ufffe\uffff]/gu;

/** Text in an XML document: escaped, what is not allowed replaced. */
export function escapeXml(text: string): string {
  return escapeHtml(text.replace(forbidden, '\ufffd'));
}
