/** Characters from `first` to `last`, both included. */
export function range(first: number, last: number): string {
  return String.fromCharCode(...Array.from({ length: last - first + 1 }, (_, i) => first + i));
}

const ascii = range(0x20, 0x7e);
const latin = range(0xc0, 0xff).replace('×', '').replace('÷', '');
const furtherLatin = 'ŒœŠšŽžŸ';
const typographic = '“”‘’„«»–—…•';
const signs = '€£¥§©°±×·¡¿';

/** Every character that rendered text may hold, in a fixed order: the built-in reader's alphabet. */
export const alphabet: string = ascii + latin + furtherLatin + typographic + signs;
