/** What is in a body: as short as it may be, wherever it is done. */
import { InputError, messageOf } from '../core/errors.js';
import { expectKnown, type Field } from '../core/fields.js';

/** Characters of JSON outside of its texts, and quotes within them, at most: what is within takes no time to speak of. */
const maxStructure = 100_000;

const [quote, backslash] = [0x22, 0x5c];

/** A body of JSON as what `field` reads. Throws InputError for what is no JSON, or only takes time to parse, or not as the field says. */
export function readJson<T>(bytes: Uint8Array, field: Field<T>): T {
  const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  expectLittle(body);
  return field.read(parseJson(body.toString('utf8')), 'body');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new InputError(`body: is not JSON: ${messageOf(cause).slice(0, 100)}`, { cause });
  }
}

/** Passes over texts, however long they are, and counts the rest. */
function expectLittle(bytes: Buffer): void {
  let count = 0;
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === quote) {
      do {
        at = bytes.indexOf(quote, at + 1);
        if (at < 0) return;
        count++;
      } while (isEscaped(bytes, at) && count <= maxStructure);
    }
    if (++count > maxStructure) throw new InputError('body: has more structure than any request');
  }
}

function isEscaped(bytes: Buffer, at: number): boolean {
  let before = at - 1;
  while (bytes[before] === backslash) before--;
  return (at - before) % 2 === 0;
}

/** A form with an image. */
export interface ImageForm {
  readonly image: Uint8Array;
  /** Fields that are text, with all their values. */
  readonly texts: Readonly<Record<string, readonly string[]>>;
}

/** The image and the `names` of a form whose content type is `type`. Throws InputError, also for fields of other names. */
export async function readForm(bytes: Uint8Array, type: string, names: readonly string[]): Promise<ImageForm> {
  const form = await new Response(bytes as Uint8Array<ArrayBuffer>, { headers: { 'content-type': type } })
    .formData()
    .catch((cause: unknown) => {
      throw new InputError('body: is not a form', { cause });
    });
  const [image, ...others] = form.getAll('image');
  if (image === undefined || typeof image === 'string') throw new InputError('body: expected a file named image');
  if (others.length > 0) throw new InputError(`body: expected one image, got ${others.length + 1}`);
  expectKnown([...form.keys()], ['image', ...names], 'body');
  const texts = names.flatMap((name) => {
    const values = form.getAll(name).map((value) => {
      if (typeof value === 'string') return value;
      throw new InputError(`body: ${name}: expected text, got a file`);
    });
    return values.length === 0 ? [] : [[name, values] as const];
  });
  return { image: new Uint8Array(await image.arrayBuffer()), texts: Object.fromEntries(texts) };
}

/** A form as what `field` reads: the same names as in JSON, the image as a file, lists as fields that are repeated. */
export async function readClassifyForm<T>(bytes: Uint8Array, type: string, field: Field<T>): Promise<T> {
  const { image, texts } = await readForm(bytes, type, ['model', 'labels', 'template']);
  const { model, labels, template } = texts;
  // A template alone may be the name of a set; of two models neither is meant more.
  const alone = (values: readonly string[] | undefined) => (values?.length === 1 ? values[0] : values);
  return field.read({ image, model: alone(model), labels, template: alone(template) }, 'body');
}
