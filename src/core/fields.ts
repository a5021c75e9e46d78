/** Fields of a JSON document as one table: the same lines read it, refuse what is wrong, and describe it as a JSON schema. */
import { InputError } from './errors.js';
import { asObject, briefly, type JsonObject } from './json.js';

/** How one value is read. */
export interface Field<T> {
  /** Its JSON schema. */
  readonly schema: JsonObject;
  readonly required: boolean;
  /** `value` as T; undefined where it was left out. Throws InputError naming `where`. */
  read(value: unknown, where: string): T;
}

type ValueOf<F> = F extends Field<infer T> ? T : never;
type Fields = Readonly<Record<string, Field<unknown>>>;
/** What an object of fields is read as: what may be left out is not there then. */
export type ObjectOf<F extends Fields> = {
  readonly [K in keyof F as undefined extends ValueOf<F[K]> ? never : K]: ValueOf<F[K]>;
} & {
  readonly [K in keyof F as undefined extends ValueOf<F[K]> ? K : never]?: Exclude<ValueOf<F[K]>, undefined>;
};

function field<T>(kind: string, schema: JsonObject, ok: (value: unknown) => value is T): Field<T> {
  return {
    schema,
    required: true,
    read: (value, where) => {
      if (ok(value)) return value;
      const got = value === undefined ? 'nothing' : briefly(value);
      throw new InputError(`${where}: expected ${kind}, got ${got}`);
    },
  };
}

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);

export const textField: Field<string> = field(
  'text',
  { type: 'string' },
  (value): value is string => typeof value === 'string',
);
export const pathField: Field<string> = field(
  'a path',
  { type: 'string', minLength: 1 },
  (value): value is string => typeof value === 'string' && value !== '',
);
export const flagField: Field<boolean> = field(
  'true or false',
  { type: 'boolean' },
  (value): value is boolean => typeof value === 'boolean',
);
/** A whole number above 0. */
export const countField: Field<number> = field(
  'a whole number above 0',
  { type: 'integer', minimum: 1, maximum: 2 ** 31 },
  (value): value is number => Number.isInteger(value) && (value as number) > 0 && (value as number) <= 2 ** 31,
);
/** A whole number, 0 or more. */
export const indexField: Field<number> = field(
  'a whole number, 0 or more',
  { type: 'integer', minimum: 0 },
  (value): value is number => Number.isSafeInteger(value) && (value as number) >= 0,
);

/** A number in [low, high], or without `closed` in [low, high). */
export function numberField(
  low: number = Number.NEGATIVE_INFINITY,
  high: number = Number.POSITIVE_INFINITY,
  { closed = true }: { readonly closed?: boolean } = {},
): Field<number> {
  const [from, to] = [Number.isFinite(low), Number.isFinite(high)];
  const bounds = [from && `from ${low}`, to && `${closed ? 'to' : 'below'} ${high}`].filter(Boolean).join(' ');
  const schema = {
    type: 'number',
    ...(from && { minimum: low }),
    ...(to && { [closed ? 'maximum' : 'exclusiveMaximum']: high }),
  };
  return field(
    bounds === '' ? 'a number' : `a number ${bounds}`,
    schema,
    (value): value is number => isNumber(value) && value >= low && (closed ? value <= high : value < high),
  );
}

export function choiceField<const T extends string>(choices: readonly T[]): Field<T> {
  const isChoice = (value: unknown): value is T => choices.includes(value as T);
  return field(
    choices.length === 1 ? JSON.stringify(choices[0]) : `one of ${choices.join(', ')}`,
    { enum: choices },
    isChoice,
  );
}

/** `of`, or null. */
export function nullable<T>(of: Field<T>): Field<T | null> {
  return {
    schema: { anyOf: [of.schema, { type: 'null' }] },
    required: of.required,
    read: (value, where) => (value === null ? null : of.read(value, where)),
  };
}

/** `of`, or `other` where it is left out. */
export function withDefault<T>(of: Field<T>, other: T): Field<T> {
  return {
    schema: { ...of.schema, default: other },
    required: false,
    read: (value, where) => (value === undefined ? other : of.read(value, where)),
  };
}

/** `of`, or undefined where it is left out. */
export function optional<T>(of: Field<T>): Field<T | undefined> {
  return {
    schema: of.schema,
    required: false,
    read: (value, where) => (value === undefined ? undefined : of.read(value, where)),
  };
}

/** The same with a sentence for those who write the file. */
export function described<T>(description: string, of: Field<T>): Field<T> {
  return { ...of, schema: { description, ...of.schema } };
}

/** What `isFirst` says is read as `first`, the rest as `second`. */
export function eitherField<A, B>(
  isFirst: (value: unknown) => boolean,
  first: Field<A>,
  second: Field<B>,
): Field<A | B> {
  return {
    schema: { anyOf: [first.schema, second.schema] },
    required: first.required && second.required,
    read: (value, where) => (isFirst(value) ? first : second).read(value, where),
  };
}

export interface ListLimits {
  readonly least?: number;
  readonly most?: number;
}

export function listField<T>(
  of: Field<T>,
  { least = 0, most = Number.POSITIVE_INFINITY }: ListLimits = {},
): Field<readonly T[]> {
  const bounds = { ...(least > 0 && { minItems: least }), ...(Number.isFinite(most) && { maxItems: most }) };
  return {
    schema: { type: 'array', items: of.schema, ...bounds },
    required: true,
    read: (value, where) => {
      if (Array.isArray(value) && value.length > most) {
        throw new InputError(`${where}: expected a list of at most ${most}, got ${value.length}`);
      }
      if (!Array.isArray(value) || value.length < least) {
        const got = value === undefined ? 'nothing' : briefly(value);
        throw new InputError(`${where}: expected a list${least > 0 ? ` of at least ${least}` : ''}, got ${got}`);
      }
      return value.map((item, i) => of.read(item, `${where}[${i}]`));
    },
  };
}

/** Two values of a kind. */
export function pairField<T>(of: Field<T>): Field<readonly [T, T]> {
  const list = listField(of);
  return {
    schema: { ...list.schema, minItems: 2, maxItems: 2 },
    required: true,
    read: (value, where) => {
      const read = list.read(value, where);
      if (read.length !== 2) throw new InputError(`${where}: expected two values, got ${JSON.stringify(value)}`);
      return [read[0], read[1]];
    },
  };
}

/** Values by name, whatever the names. */
export function mapField<T>(of: Field<T>): Field<Readonly<Record<string, T>>> {
  return {
    schema: { type: 'object', additionalProperties: of.schema },
    required: true,
    read: (value, where) =>
      Object.fromEntries(
        Object.entries(asObject(value, where)).map(([name, item]) => [name, of.read(item, `${where}.${name}`)]),
      ),
  };
}

/** Throws InputError for the first of `names` that is not `known`: what is misspelt would be left out silently. */
export function expectKnown(names: readonly string[], known: readonly string[], where: string): void {
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new InputError(`${where}: unknown field ${unknown.slice(0, 40)}; there are ${known.join(', ')}`);
  }
}

/** An object of these fields and no others; with `open` others are left alone. */
export function objectField<F extends Fields>(
  fields: F,
  { open = false }: { readonly open?: boolean } = {},
): Field<ObjectOf<F>> {
  const names = Object.keys(fields);
  return {
    schema: {
      type: 'object',
      properties: Object.fromEntries(names.map((name) => [name, fields[name].schema])),
      required: names.filter((name) => fields[name].required),
      additionalProperties: open,
    },
    required: true,
    read: (value, where) => {
      const json = asObject(value, where);
      if (!open) expectKnown(Object.keys(json), names, where);
      const given = (name: string) => (Object.hasOwn(json, name) ? json[name] : undefined);
      const entries = names.map((name) => [name, fields[name].read(given(name), `${where}: ${name}`)] as const);
      return Object.fromEntries(entries.filter(([, read]) => read !== undefined)) as ObjectOf<F>;
    },
  };
}
