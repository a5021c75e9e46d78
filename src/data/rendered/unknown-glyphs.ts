/** Which glyphs from outside the alphabet are drawn. */
import { range } from './alphabet.js';
import type { Split } from './lexicon.js';

/** What unknown glyphs are: letters, which come in words, and signs. */
export type UnknownKind = 'latin' | 'greek' | 'cyrillic' | 'script' | 'sign' | 'commonSign';

/**
 * Of the alphabets most like Latin: those that are not drawn as letters of ours, be it with another accent above. Those that are
 * (Cyrillic а, Greek ο, ā beside ã) cannot be told by sight and are not asked for.
 */
const letters = {
  latin: 'ĄąĆćĈĉĊċČčĎđĘęĜĝĞğĠġĢģĤĥĦħĮįĴĵĶķĻļŁłŅņŊŋŔŕŖŗŘřŞşȘșŢţȚțŤŦŧŲųŴŵƠơƯưẠạẶặẬậẸẹỆệỊịỌọỘộỢợỤụỰựỴ',
  greek: 'ΓΔΘΛΞΠΣΦΨΩαβγδεζηθλμξπςστφψωήώ',
  cyrillic: 'БГДЖИЙЛПФЦЧШЩЪЫЭЮЯЂЄЉЊЋЏҐбгджийклмнптфцчшщъыьэюяђєљњћџґ',
};

/** Letters whose italics are drawn as Latin ones. */
const italicTwins = new Set('αгдийптцђћ');

const commonSigns = '†‡‰¢®¶½¼¾²³¹™←→↑↓↔⇒⇔≤≥≠≈∞√∑∏∂∫∈∀∃✓✔★☆■□▲△▼►◆◇☐☑☎☺♥♦♣♠♪♀♂₹₽₩₿₪№';

/** Of the ranges below those that are drawn as a character of the alphabet is, or as a dash, a dot or an empty box of box drawing. */
const lookAlike = new Set(
  'ՅԼՍՏՕՙ՚՛՜՝՞՟աբեըիղյնշոջռսվտցւփքօֆհձճմծկզ' +
    'აბთიოსხႱႹႣႷႭ' +
    'ᐁᐃᐅᐊᐯᐱᐳᐸᐧᐰᐲᑌᑎᑐᑕᑖᑭᑮᑯᑫᑲᑬᑳᑰᒍᒪᒫᒐᒑᒥᓐᕁᕼᕓᕞᕟᕈᕊᖯᖴᗞ' +
    'ⴰⴱⴲⴳⴴⴶⴷⴸⴹⴺⴻⵀⵁⵂⵅⵉⵊⵎⵏⵑⵔⵕⵙⵚⵜⵝⵟⵠⵡⵢⵓ' +
    '℅ℊ℗ℎℏℐℑℓℕ℞ℝ℟ℤΩ℧ℨℬℭ℮ℯℰℱℳℴℹ⅀⅁ⅅⅆⅇⅈⅉℂℍℙℚ℣⅂ℇ' +
    '↕↥↧↡↟⇡↨⇌⇋⇐⇁⇀↼↽⇽⇾⇿⇠⇢' +
    '∁∆∇∔−∕∖∗∘∙∣∤∥∨∩∪∶∷∸∹∺∻∼∽∾≀≂≃≍≐≑≒≓≖≟≔≕≺≻⊂⊃⊌⊍⊎⊤⊥⊢⊣⋀⋁⋂⋃⋄⋅⋆⋍⋎⋖⋗⋮⋯⋰⋱⊖⊘⊙⊚⊛⊝⊜⊹⊺⊲⊳' +
    '▢▤▥▦▧▨▩▪▫▬▭▮▯▸▹▾▿◂◃◌○◍◎●◖◗◘◙◚◛◜◝◞◟◠◡◢◣◤◥◦◯◯' +
    '☀☁☌☊☋☍☨☽☾☓⚊⚋⚌⚍⚎⚏⚐⚬⚭⚫⚪⛢♁⚔' +
    '✁✂✃✄✕✖✗✘✙✚✛✜✝✞✟✱✲✳✴✵✶✷✸✹✺✻✼✽❁❂❃❇❈❉❊❋❍❏❐❑❒❘❙❚❛❜❝❞❡❨❩❪❫❬❭❮❯❰❱❲❳❴❵➀➁➂➃➄➅➆➇➈➉➊➋➌➍➎➏➐➑➒➓➔',
);

const ranges = {
  script: [
    [0x531, 0x586], // Armenian
    [0x905, 0x939], // Devanagari
    [0x10a0, 0x10f0], // Georgian
    [0x1401, 0x1676], // Canadian syllabics
    [0x2d30, 0x2d65], // Tifinagh
    [0x4dc0, 0x4dff], // hexagrams
  ],
  sign: [
    [0x20a5, 0x20ab],
    [0x20ad, 0x20bf],
    [0x2100, 0x2129],
    [0x212c, 0x214f],
    [0x2153, 0x215e],
    [0x2190, 0x21ff],
    [0x2200, 0x22ff],
    [0x2318, 0x2328],
    [0x25a0, 0x25ff],
    [0x2600, 0x26ff],
    [0x2701, 0x27bf],
    [0x28c0, 0x28ff],
  ],
} as const;

const isGlyph = (character: string) =>
  /^[\p{L}\p{N}\p{S}\p{P}]$/u.test(character) && !/^[\p{Lm}\p{Sk}]$/u.test(character);

const distinct = (of: readonly (readonly [first: number, last: number])[]) =>
  [...new Set(of.flatMap(([first, last]) => [...range(first, last)]))].filter(
    (character) => isGlyph(character) && !lookAlike.has(character),
  );

/** Every unknown glyph that may be drawn, by kind. All are one UTF-16 unit, and none is joined to its neighbours or runs leftwards. */
export const unknownGlyphs: Readonly<Record<UnknownKind, readonly string[]>> = {
  latin: [...letters.latin],
  greek: [...letters.greek],
  cyrillic: [...letters.cyrillic],
  script: distinct(ranges.script),
  sign: distinct(ranges.sign),
  commonSign: [...commonSigns],
};

/** One glyph in this many is kept from training: a function of its code. */
const heldOutShare = 6;
const isHeldOut = (glyph: string) => (Math.imul(glyph.charCodeAt(0), 0x9e3779b1) >>> 16) % heldOutShare === 0;

/** The unknown glyphs of a split among those that a font draws, by kind; kinds without any are left out. */
export function unknownGlyphsOf(
  drawable: ReadonlySet<string>,
  { split, isItalic }: { readonly split: Split; readonly isItalic: boolean },
): ReadonlyMap<UnknownKind, readonly string[]> {
  const fits = (glyph: string) =>
    drawable.has(glyph) && isHeldOut(glyph) === (split === 'heldOut') && !(isItalic && italicTwins.has(glyph));
  const kinds = Object.keys(unknownGlyphs) as UnknownKind[];
  return new Map(
    kinds.map((kind) => [kind, unknownGlyphs[kind].filter(fits)] as const).filter(([, glyphs]) => glyphs.length > 0),
  );
}
