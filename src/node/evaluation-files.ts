import { readdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { InputError, messageOf } from '../core/errors.js';

/** An image and the file with its text. */
export interface ImageTextPair {
  /** File name of the image within the folder. */
  readonly name: string;
  readonly image: string;
  readonly text: string;
}

const types: Readonly<Record<string, string>> = {
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.webp': 'image/webp',
  '.gif': 'image/gif',
  '.tif': 'image/tiff',
  '.tiff': 'image/tiff',
};

/** The text file that belongs to an image: its name with .txt for its ending. */
export function textNameOf(image: string): string {
  return `${image.slice(0, image.length - extname(image).length)}.txt`;
}

/** Pairs of images and texts in a folder, by name; images without a text are listed apart. */
export async function findPairs(folder: string): Promise<{ pairs: ImageTextPair[]; withoutText: string[] }> {
  let names: string[];
  try {
    names = (await readdir(folder)).sort();
  } catch (cause) {
    throw new InputError(`${folder}: expected a folder of images and .txt files (${messageOf(cause)})`, { cause });
  }
  const there = new Set(names);
  const images = names.filter((name) => extname(name).toLowerCase() in types);
  return {
    pairs: images
      .filter((name) => there.has(textNameOf(name)))
      .map((name) => ({ name, image: join(folder, name), text: join(folder, textNameOf(name)) })),
    withoutText: images.filter((name) => !there.has(textNameOf(name))),
  };
}

/** A text file, without a byte order mark. */
export async function readText(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).replace(/^\uFEFF/, '');
  } catch (cause) {
    throw new InputError(`${path}: expected a text file (${messageOf(cause)})`, { cause });
  }
}

/** An image file as a data URI. */
export async function pictureUri(path: string): Promise<string> {
  return `data:${types[extname(path).toLowerCase()]};base64,${(await readFile(path)).toString('base64')}`;
}
