import { InputError } from '../core/errors.js';
import type { JsonObject } from '../core/json.js';
import type { PromptTemplate } from './prompt.js';

/** How a checkpoint was trained to be asked. */
export interface PromptStyle {
  readonly template: PromptTemplate;
  readonly turnSignal: string;
}

/**
 * What config.json records of it: `vary_template` and `vary_turn_signal`, which our trainer writes. Undefined for a checkpoint
 * that says nothing, as the released ones, which are asked plainly. Throws InputError for an unknown template.
 */
export function promptStyleFrom(config: JsonObject, where: string): PromptStyle | undefined {
  const { vary_template: template, vary_turn_signal: turnSignal = '' } = config;
  if (template === undefined) return undefined;
  if (template !== 'plain' && template !== 'vicuna' && template !== 'conversation') {
    throw new InputError(
      `${where}: vary_template: expected plain, vicuna or conversation, got ${JSON.stringify(template)}`,
    );
  }
  if (typeof turnSignal !== 'string') {
    throw new InputError(`${where}: vary_turn_signal: expected text, got ${JSON.stringify(turnSignal)}`);
  }
  return { template, turnSignal };
}
