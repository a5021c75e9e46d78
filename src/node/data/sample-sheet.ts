import sharp from 'sharp';
import { InputError, messageOf } from '../../core/errors.js';
import { ignoreIndex } from '../../core/labels.js';
import { createRng } from '../../core/rng.js';
import type { ConversationRecord } from '../../data/conversations.js';
import type { SampleOptions } from '../../data/sample.js';
import type { Pixels } from '../../image/pixels.js';
import { augmentDocument } from '../../image/train-transform.js';
import { escapeHtml } from '../../output/html.js';
import { encodeConversation } from '../../text/conversation.js';
import type { Tokenizer } from '../../text/tokenizer.js';

/** Pixels wide on the page. */
const pictureWidth = 360;

const style = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1a1a1a;background:#fff}
article{display:flex;gap:1.5rem;border-top:1px solid #ccc;padding:1.2rem 0;flex-wrap:wrap}
figure{margin:0;flex:0 0 ${pictureWidth}px;max-width:100%}img{width:100%;border:1px solid #ccc}
div{flex:1 1 20rem;min-width:0}code{white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.7 ui-monospace,monospace}
mark{background:#bde5c8;color:inherit}.pad{color:#767676}h2{font-size:1rem;margin:0 0 .5rem}.problem{color:#a40000}`;

/** A page that shows samples as training sees them: pictures, tokens, and which of them are learned (marked). */
export async function sampleSheet(
  records: readonly ConversationRecord[],
  options: SampleOptions,
  title: string,
): Promise<string> {
  const articles: string[] = [];
  for (const [i, record] of records.entries()) articles.push(await article(record, i, options));
  const legend = 'Marked tokens are learned; the others are read only. A run of image places is written as one.';
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escapeHtml(title)}</title>
<style>${style}</style></head><body><h1>${escapeHtml(title)}</h1><p>${legend}</p>
${articles.join('\n')}
</body></html>
`;
}

async function article(record: ConversationRecord, index: number, options: SampleOptions): Promise<string> {
  const pictures: string[] = [];
  const problems: string[] = [];
  const attempt = async (part: () => Promise<void>) => {
    try {
      await part();
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      problems.push(messageOf(error));
    }
  };
  const rng = createRng(options.seed, index);
  for (const path of record.images) {
    await attempt(async () => {
      const image = await options.loadImage(path);
      pictures.push(await picture(options.augment ? augmentDocument(image, rng) : image));
    });
  }
  let text = '';
  await attempt(async () => {
    text = marked(record, options);
  });
  const wrong = problems.map((problem) => `<p class="problem">${escapeHtml(problem)}</p>`).join('');
  const figure = pictures.length > 0 ? `<figure>${pictures.join('')}</figure>` : '';
  return `<article>${figure}<div><h2>${escapeHtml(record.where)}</h2>${wrong}<code>${text}</code></div></article>`;
}

async function picture({ width, height, data }: Pixels): Promise<string> {
  const png = await sharp(data, { raw: { width, height, channels: 3 } })
    .resize({ width: 2 * pictureWidth, withoutEnlargement: true })
    .png()
    .toBuffer();
  return `<img alt="" src="data:image/png;base64,${png.toString('base64')}">`;
}

/** The sample's text with its learned tokens marked. */
function marked(record: ConversationRecord, options: SampleOptions): string {
  const { tokenizer, imageTokens } = options;
  const { inputIds, labels } = encodeConversation(tokenizer, imageTokens, record.sample, {
    ...options,
    where: record.where,
  });
  const runs: { kind: string; ids: number[] }[] = [];
  inputIds.forEach((id, i) => {
    const kind = id === imageTokens.padId ? 'pad' : labels[i] === ignoreIndex ? 'read' : 'learned';
    if (runs.at(-1)?.kind === kind) runs[runs.length - 1].ids.push(id);
    else runs.push({ kind, ids: [id] });
  });
  return runs.map(({ kind, ids }) => shown(kind, ids, tokenizer)).join('');
}

function shown(kind: string, ids: readonly number[], tokenizer: Tokenizer): string {
  if (kind === 'pad')
    return `<span class="pad">${escapeHtml(tokenizer.decode(ids.slice(0, 1)))} × ${ids.length}</span>`;
  const text = escapeHtml(tokenizer.decode(ids));
  return kind === 'learned' ? `<mark>${text}</mark>` : text;
}
