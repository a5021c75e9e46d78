import type { Box } from './pixels.js';

/** One line as it was read: its upright box on the page, and which paragraph and block it belongs to. */
export interface ReadLine {
  readonly text: string;
  /** The mean probability of its characters, from 0 to 1. */
  readonly confidence: number;
  readonly box: Box;
  readonly paragraph: number;
  readonly block: number;
}
