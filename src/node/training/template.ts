import { InputError } from '../../core/errors.js';
import type { JsonObject } from '../../core/json.js';
import type { PromptStyle } from '../../text/prompt-style.js';

/** What config.json says of a style. */
export function styleChanges({ template, turnSignal }: PromptStyle): JsonObject {
  return { vary_template: template, ...(turnSignal !== '' && { vary_turn_signal: turnSignal }) };
}

/** Throws InputError where a checkpoint that was trained with one style would be trained on with another. */
export function expectTemplate(wanted: PromptStyle, recorded: PromptStyle | undefined, where: string): void {
  if (!recorded || (recorded.template === wanted.template && recorded.turnSignal === wanted.turnSignal)) return;
  const shown = ({ template, turnSignal }: PromptStyle) =>
    `template ${template}${turnSignal === '' ? '' : ` with turnSignal ${JSON.stringify(turnSignal)}`}`;
  throw new InputError(
    `${where}: was trained with ${shown(recorded)}, the run has ${shown(wanted)}; set it in the run file, or take vary_template out of config.json to teach another`,
  );
}
