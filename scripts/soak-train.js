// Kills a training run 100 times (or as often as said) at random moments, most of them while it saves: npm run soak:train -- [N]
import { conversationFolder } from '../dist/test/helpers/conversations.js';
import { trainThroughKills } from '../dist/test/helpers/training.js';

const kills = Number(process.argv[2] ?? 100);
const seed = Date.now() % 2 ** 31;
const { folder } = await conversationFolder(3);
const { half, last } = await trainThroughKills(folder, kills, seed);
console.log(
  `ok: ${kills} kills (seed ${seed}), ${half} of them with a checkpoint half written; the newest one is whole: ${last}`,
);
process.exit(0);
