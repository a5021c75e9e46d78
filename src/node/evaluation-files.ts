import { readdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { InputError } from '../core/errors.js';
import { readText as readAnyText } from './files.js';
import { expectFile, reasonOf } from './place.js';

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
    throw new InputError(`${folder}: expected a folder of images and .txt files (${reasonOf(cause, folder)})`, {
      cause,
    });
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

/** A text file's content. Throws InputError. */
export function readText(path: string): string {
  expectFile(path, path, 'a text file');
  return readAnyText(path);
}

/** An image file as a data URI. Throws InputError. */
export async function pictureUri(path: string): Promise<string> {
  expectFile(path, path, 'an image file');
  return `data:${types[extname(path).toLowerCase()]};base64,${(await readFile(path)).toString('base64')}`;
}
