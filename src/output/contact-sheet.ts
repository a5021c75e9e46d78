import { escapeHtml } from './html.js';

/** A picture of a contact sheet. */
export interface SheetPicture {
  readonly name: string;
  /** A data URI. */
  readonly thumbnail: string;
  /** Lines under the name. */
  readonly notes: readonly string[];
}

/** Pictures under a heading. */
export interface SheetSection {
  readonly heading: string;
  readonly pictures: readonly SheetPicture[];
}

const style = `body{font:14px/1.4 system-ui,sans-serif;margin:2rem;color:#222;background:#fff}h1{font-size:1.3rem}h2{font-size:1rem;font-weight:600}
section{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;width:240px}img{max-width:240px;max-height:240px;border-radius:3px;background:#eee}
figcaption{overflow-wrap:anywhere}small{display:block;color:#666}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}small{color:#999}img{background:#333}}`;

/** A page that needs no other file and runs nothing: names are text, thumbnails are data URIs. */
export function contactSheetHtml(title: string, sections: readonly SheetSection[]): string {
  const figure = ({ name, thumbnail, notes }: SheetPicture) =>
    `<figure><img src="${escapeHtml(thumbnail)}" alt="${escapeHtml(name)}"><figcaption>${escapeHtml(name)}${notes
      .map((note) => `<small>${escapeHtml(note)}</small>`)
      .join('')}</figcaption></figure>`;
  const body = sections.map(
    ({ heading, pictures }) =>
      `${heading === '' ? '' : `<h2>${escapeHtml(heading)}</h2>\n`}<section>\n${pictures.map(figure).join('\n')}\n</section>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title>
<style>${style}</style></head><body><h1>${escapeHtml(title)}</h1>
${body.join('\n') || '<p>No pictures.</p>'}
</body></html>
`;
}
