// Draws examples/pictures: Twemoji artwork, of which clip-nano has seen none.
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { codeOf, heldOutVendor, readArtwork, readEmoji } from './artwork.js';

const out = 'examples/pictures';
const side = 96;
const chosen =
  '🍎 🍏 🍓 🍒 🍇 🍉 🍊 🍋 🍌 🍍 🥝 🍅 🥕 🌽 🥦 🥑 🍞 🧀 🍕 🍔 🍩 🎂 🍦 ☕ 🍵 🍷 🐶 🐱 🐭 🐰 🦊 🐻 🐼 🦁 🐯 🐮 🐷 🐸 🐵 🐔 🐧 🦉 🐝 🦋 🐌 🐟 🐬 🐙 🦀 🐢 🐍 🐘 🌲 🌴 🌵 🌻 🌹 🍄 🚗 🚕 🚌 🚲 🚂 🚀 🚢 🚁 🏠 🏰 ⛺ 🌈 ⭐ 🌙 🔥 ❄️ ⚽ 🏀 🎸 🎹 📚 💻 🔑 🔒 ✂️ ☂️ 👑 👟 🎩 💎 🔔 ⏰'.split(
    ' ',
  );

const emoji = new Map(readEmoji().map((one) => [one.code, one]));
const artwork = readArtwork([...emoji.values()]).get(heldOutVendor);
mkdirSync(out, { recursive: true });
for (const name of readdirSync(out).filter((each) => each.endsWith('.png'))) rmSync(join(out, name));
for (const char of chosen) {
  const code = codeOf(char);
  const { name } = emoji.get(code);
  const svg = artwork.get(code).replace('<svg ', `<svg width="${side}" height="${side}" `);
  await sharp(Buffer.from(svg))
    .flatten({ background: '#ffffff' })
    .png({ palette: true, compressionLevel: 9 })
    .toFile(join(out, `${name.replace(/[^a-z0-9]+/g, '-')}.png`));
}
console.log(`${chosen.length} pictures in ${out}`);
