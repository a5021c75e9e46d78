// Draws examples/page.png and its text, examples/page.txt: a page in a font that the built-in reader has never seen.
import { readFileSync, writeFileSync } from 'node:fs';
import { createCanvas, GlobalFonts } from '@napi-rs/canvas';

const paragraphs = [
  'A page is a picture before it is a text. What a camera brings home is a field of light and dark, some millions of numbers, and nothing in them says where a word begins. A reader has to find the lines, follow each from left to right, and decide at every step which sign stands there. People do it without a thought; a program has to be taught.',
  'This page was drawn by a script and is read by a small network with about four million parameters. It was trained on lines that were made up on the spot: common words, rare words, prices such as €12.50 or £3,999, dates like 17 March 1926 or 2026-11-25, and now and then pure nonsense, so that it learns letters and not only vocabulary. The font you see here was kept from it.',
  'How is that done? First the page is cut: paper and ink are told apart, a slight turn is straightened, columns are found by the white between them. Every line is scaled to 32 pixels in height and passes through a tower of attention layers, which turns it into 48 tokens. A decoder then writes one byte after another – “like a typist”, as somebody said – until it reaches the end.',
  'Small does not mean careless. Accents count: café, naïve, Škoda, Ærø, mañana. So do brackets (round, [square] and {curly}), signs like & or @, and the difference between a hyphen-minus, an en dash – and an em dash —. A zero is not an O, a one is not an l; whoever has copied a serial number by hand (say, B0-1I7-l5O) knows how much that matters.',
  'Why not simply look every picture up in a table? Because no two of them are alike. The same letter comes in fifty families, bold, slanted or narrow, at 10 points or at 14, on white paper or on a yellowed sheet, sharp from a printer or soft from a lens. A table would need an entry for each; a network needs one idea of what makes an “a” an “a”, and enough examples to find it.',
  'Errors remain. A faint photograph, handwriting or a script that it never met will be read wrongly, and a reader that is wrong should say so: each line carries a confidence between 0 and 1, and a page without any text gives none at all. Nothing is sent anywhere. The whole model is smaller than most pictures of a page, and it runs on the machine in front of you.',
  'If you want to know more, look at the model card; it lists every font, every word list and every figure: what was measured, on which pages, and with what seed. Then try it on a page of your own.',
];

const [width, height, size, margin] = [1240, 1754, 24, 280];
const file = (style) =>
  readFileSync(new URL(`../node_modules/@fontsource/crimson-pro/files/${style}.woff`, import.meta.url));
for (const subset of ['latin', 'latin-ext']) {
  GlobalFonts.register(file(`crimson-pro-${subset}-400-normal`), `text-${subset}`);
  GlobalFonts.register(file(`crimson-pro-${subset}-700-normal`), `bold-${subset}`);
}
const canvas = createCanvas(width, height);
const context = canvas.getContext('2d');
context.fillStyle = '#fff';
context.fillRect(0, 0, width, height);
context.fillStyle = '#111';
const title = 'Reading, line by line';
context.font = `${size * 1.7}px "bold-latin"`;
context.fillText(title, margin, 100 + size);
context.font = `${size}px "text-latin", "text-latin-ext"`;
const texts = [title];
let y = 100 + size * 4;
for (const paragraph of paragraphs) {
  const lines = [];
  let line = '';
  for (const word of paragraph.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (context.measureText(longer).width > width - 2 * margin) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  lines.push(line);
  for (const each of lines) {
    context.fillText(each, margin, y);
    y += size * 1.4;
  }
  y += size * 0.9;
  texts.push(lines.join('\n'));
}
writeFileSync(new URL('../examples/page.png', import.meta.url), canvas.toBuffer('image/png'));
writeFileSync(new URL('../examples/page.txt', import.meta.url), `${texts.join('\n\n')}\n`);
