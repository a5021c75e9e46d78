// GPT-2's byte-level alphabet: every byte has a printable character, so that any text is a string of vocabulary characters.
// Bytes that print (33–126, 161–172, 174–255) stand for themselves; the other 68 follow in order from U+0100.

/** The byte that a character of GPT-2's alphabet stands for; undefined for other characters. */
function byteOfChar(code: number): number | undefined {
  if ((code >= 33 && code <= 126) || (code >= 161 && code <= 172) || (code >= 174 && code <= 255)) return code;
  if (code >= 256 && code <= 288) return code - 256;
  if (code >= 289 && code <= 322) return code - 289 + 127;
  return code === 323 ? 173 : undefined;
}

/** The character that stands for a byte in GPT-2's alphabet (openai/gpt-2 encoder.py, bytes_to_unicode). */
export function charOfByte(byte: number): string {
  if (byte <= 32) return String.fromCharCode(256 + byte);
  if (byte >= 127 && byte <= 160) return String.fromCharCode(289 + byte - 127);
  return String.fromCharCode(byte === 173 ? 323 : byte);
}

/** UTF-8 bytes of a text. */
export function utf8Bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/**
 * The bytes a vocabulary entry stands for. An entry with a character outside the alphabet stands for its own UTF-8, as in
 * tokenizers' ByteLevel decoder.
 */
export function bytesOfEntry(entry: string): Uint8Array {
  const bytes = new Uint8Array(entry.length);
  for (let i = 0; i < entry.length; i++) {
    const byte = byteOfChar(entry.charCodeAt(i));
    if (byte === undefined) return utf8Bytes(entry);
    bytes[i] = byte;
  }
  return bytes;
}

/** A decoder that turns invalid bytes into U+FFFD and keeps a byte-order mark as text. */
export function createUtf8Decoder(): TextDecoder {
  return new TextDecoder('utf-8', { ignoreBOM: true });
}
