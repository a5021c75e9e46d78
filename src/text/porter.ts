/** Whether the letter at `i` is a consonant: y is one at the start and after a vowel. */
function isConsonant(word: string, i: number): boolean {
  if ('aeiou'.includes(word[i])) return false;
  return word[i] !== 'y' || i === 0 || !isConsonant(word, i - 1);
}

/** Number of vowel-consonant sequences: m in [C](VC)^m[V]. */
function measure(stem: string): number {
  let count = 0;
  for (let i = 1; i < stem.length; i++) if (!isConsonant(stem, i - 1) && isConsonant(stem, i)) count++;
  return count;
}

function hasVowel(stem: string): boolean {
  for (let i = 0; i < stem.length; i++) if (!isConsonant(stem, i)) return true;
  return false;
}

function endsDouble(word: string): boolean {
  const n = word.length;
  return n >= 2 && word[n - 1] === word[n - 2] && isConsonant(word, n - 1);
}

/** Ends consonant-vowel-consonant, the last not w, x or y; two letters vowel-consonant count too. */
function endsShort(word: string): boolean {
  const n = word.length;
  if (n === 2) return !isConsonant(word, 0) && isConsonant(word, 1);
  return (
    n >= 3 &&
    isConsonant(word, n - 3) &&
    !isConsonant(word, n - 2) &&
    isConsonant(word, n - 1) &&
    !'wxy'.includes(word[n - 1])
  );
}

type Rule = readonly [suffix: string, replacement: string, condition?: (stem: string, word: string) => boolean];

/** Applies the first rule whose suffix fits; where its condition fails, no later rule is tried. */
function applyFirst(word: string, rules: readonly Rule[]): string {
  for (const [suffix, replacement, condition] of rules) {
    if (!word.endsWith(suffix)) continue;
    const stem = word.slice(0, word.length - suffix.length);
    return !condition || condition(stem, word) ? stem + replacement : word;
  }
  return word;
}

const repeats = (stem: string) => measure(stem) > 0;
const repeatsTwice = (stem: string) => measure(stem) > 1;

function plurals(word: string): string {
  if (word.endsWith('ies') && word.length === 4) return `${word.slice(0, -3)}ie`;
  return applyFirst(word, [
    ['sses', 'ss'],
    ['ies', 'i'],
    ['ss', 'ss'],
    ['s', ''],
  ]);
}

function pastAndGerund(word: string): string {
  if (word.endsWith('ied')) return word.slice(0, -3) + (word.length === 4 ? 'ie' : 'i');
  if (word.endsWith('eed')) return repeats(word.slice(0, -3)) ? word.slice(0, -1) : word;
  const suffix = ['ed', 'ing'].find((each) => word.endsWith(each) && hasVowel(word.slice(0, -each.length)));
  if (!suffix) return word;
  const stem = word.slice(0, -suffix.length);
  if (/(at|bl|iz)$/.test(stem)) return `${stem}e`;
  if (endsDouble(stem)) return 'lsz'.includes(stem[stem.length - 1]) ? stem : stem.slice(0, -1);
  return measure(stem) === 1 && endsShort(stem) ? `${stem}e` : stem;
}

const longSuffixes: readonly Rule[] = [
  ['ational', 'ate', repeats],
  ['tional', 'tion', repeats],
  ['enci', 'ence', repeats],
  ['anci', 'ance', repeats],
  ['izer', 'ize', repeats],
  ['bli', 'ble', repeats],
  ['alli', 'al', repeats],
  ['entli', 'ent', repeats],
  ['eli', 'e', repeats],
  ['ousli', 'ous', repeats],
  ['ization', 'ize', repeats],
  ['ation', 'ate', repeats],
  ['ator', 'ate', repeats],
  ['alism', 'al', repeats],
  ['iveness', 'ive', repeats],
  ['fulness', 'ful', repeats],
  ['ousness', 'ous', repeats],
  ['aliti', 'al', repeats],
  ['iviti', 'ive', repeats],
  ['biliti', 'ble', repeats],
  ['fulli', 'ful', repeats],
  ['logi', 'log', (_, word) => repeats(word.slice(0, -3))],
];

const middleSuffixes: readonly Rule[] = [
  ['icate', 'ic', repeats],
  ['ative', '', repeats],
  ['alize', 'al', repeats],
  ['iciti', 'ic', repeats],
  ['ical', 'ic', repeats],
  ['ful', '', repeats],
  ['ness', '', repeats],
];

const lastSuffixes: readonly Rule[] = [
  ...['al', 'ance', 'ence', 'er', 'ic', 'able', 'ible', 'ant', 'ement', 'ment', 'ent'].map(
    (suffix): Rule => [suffix, '', repeatsTwice],
  ),
  ['ion', '', (stem) => repeatsTwice(stem) && /[st]$/.test(stem)],
  ...['ou', 'ism', 'ate', 'iti', 'ous', 'ive', 'ize'].map((suffix): Rule => [suffix, '', repeatsTwice]),
];

function withoutFinalE(word: string): string {
  if (!word.endsWith('e')) return word;
  const stem = word.slice(0, -1);
  return measure(stem) > 1 || (measure(stem) === 1 && !endsShort(stem)) ? stem : word;
}

function derived(word: string): string {
  if (word.endsWith('alli') && repeats(word.slice(0, -4))) return derived(`${word.slice(0, -4)}al`);
  return applyFirst(word, longSuffixes);
}

/** Words whose stem the rules get wrong. */
const irregular: Readonly<Record<string, string>> = {
  sky: 'sky',
  skies: 'sky',
  news: 'news',
  dying: 'die',
  lying: 'lie',
  tying: 'tie',
  innings: 'inning',
  inning: 'inning',
  outings: 'outing',
  outing: 'outing',
  cannings: 'canning',
  canning: 'canning',
  howe: 'howe',
  proceed: 'proceed',
  exceed: 'exceed',
  succeed: 'succeed',
};

/** The stem of an English word: Porter (1980) with the extensions that nltk's `PorterStemmer` has on by default. */
export function porterStem(written: string): string {
  const word = written.toLowerCase();
  if (Object.hasOwn(irregular, word)) return irregular[word];
  if (word.length <= 2) return word;
  let stem = pastAndGerund(plurals(word));
  if (stem.endsWith('y') && stem.length > 2 && isConsonant(stem, stem.length - 2)) stem = `${stem.slice(0, -1)}i`;
  stem = applyFirst(applyFirst(derived(stem), middleSuffixes), lastSuffixes);
  stem = withoutFinalE(stem);
  return stem.endsWith('ll') && measure(stem.slice(0, -1)) > 1 ? stem.slice(0, -1) : stem;
}
