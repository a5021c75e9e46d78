import type { Box } from '../../image/pixels.js';
import type { ReadLine } from '../../image/read-line.js';
import { type PageOutput, paragraphsOf, type TextFormat } from './page.js';
import { boxRound, wordsOf } from './words.js';
import { escapeXml } from './xml.js';

const place = ({ left, top, width, height }: Box) => `HPOS="${left}" VPOS="${top}" WIDTH="${width}" HEIGHT="${height}"`;

/** Boxes may reach over a page's edge where it was turned; ALTO's places start at 0. */
function within(box: Box, page: PageOutput): Box {
  const left = Math.min(Math.max(0, box.left), page.width - 1);
  const top = Math.min(Math.max(0, box.top), page.height - 1);
  const right = Math.min(page.width, Math.max(left + 1, box.left + box.width));
  const bottom = Math.min(page.height, Math.max(top + 1, box.top + box.height));
  return { left, top, width: right - left, height: bottom - top };
}

function lineXml(line: ReadLine, id: string, page: PageOutput): string {
  const words = wordsOf(line);
  const strings = words.map(({ text, box }, w) => {
    const own = within(box, page);
    const before = words[w - 1]?.box;
    const from = before ? before.left + before.width : 0;
    const space =
      w === 0 ? '' : `<SP HPOS="${Math.max(0, from)}" VPOS="${own.top}" WIDTH="${Math.max(0, own.left - from)}"/>`;
    return `${space}<String ID="string_${id}_${w + 1}" CONTENT="${escapeXml(text)}" ${place(own)} WC="${line.confidence.toFixed(4)}"/>`;
  });
  return `            <TextLine ID="line_${id}" ${place(within(line.box, page))}>${strings.join('')}</TextLine>\n`;
}

function pageXml(page: PageOutput): string {
  const { number, width, height, lines = [] } = page;
  let line = 0;
  const blocks = paragraphsOf(lines).flatMap((paragraph, i) => {
    // A line without a word is no line to ALTO.
    const inner = paragraph.lines.flatMap((each) => {
      line++;
      return each.text.trim() === '' ? [] : [lineXml(each, `${number}_${line}`, page)];
    });
    const box = within(boxRound(paragraph.lines.map((each) => each.box)), page);
    if (inner.length === 0) return [];
    return [
      `          <TextBlock ID="block_${number}_${i + 1}" ${place(box)}>\n${inner.join('')}          </TextBlock>\n`,
    ];
  });
  return `    <Page ID="page_${number}" PHYSICAL_IMG_NR="${number}" WIDTH="${width}" HEIGHT="${height}">
      <PrintSpace HPOS="0" VPOS="0" WIDTH="${width}" HEIGHT="${height}">
${blocks.join('')}      </PrintSpace>
    </Page>
`;
}

/** ALTO 4.4: pages, blocks (one a paragraph), lines and words, in pixels. */
export const altoFormat: TextFormat = {
  extension: 'alto.xml',
  begin: ({ source, generator, reader }) => {
    const [name, version = ''] = generator.split(' ');
    return `<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.loc.gov/standards/alto/ns-v4# http://www.loc.gov/standards/alto/v4/alto-4-4.xsd">
  <Description>
    <MeasurementUnit>pixel</MeasurementUnit>
    <sourceImageInformation>
      <fileName>${escapeXml(source)}</fileName>
    </sourceImageInformation>
    <Processing ID="processing_1">
      <processingStepDescription>text recognition</processingStepDescription>
      <processingStepSettings>model ${escapeXml(reader.name)}, weights ${reader.weights}, ${reader.precision}${reader.towerPrecision ? `, tower ${reader.towerPrecision}` : ''}</processingStepSettings>
      <processingSoftware>
        <softwareName>${escapeXml(name)}</softwareName>
        <softwareVersion>${escapeXml(version)}</softwareVersion>
      </processingSoftware>
    </Processing>
  </Description>
  <Layout>
`;
  },
  page: pageXml,
  end: () => '  </Layout>\n</alto>\n',
};
