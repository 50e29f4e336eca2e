/** The pages' style sheets take type, space and colour from one scale: the custom properties of `:root`. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const FOLDERS = ['web/src', 'web/share/src'].map((name) =>
  fileURLToPath(new URL(`../../${name}`, import.meta.url)),
);

/** Properties whose lengths come from the scale; widths and heights are what they must be. */
const SCALED = /^(font(-size)?|(row-|column-)?gap|(margin|padding)(-\w+)*|border-radius)$/;
/** Up to here a length is a hairline. */
const HAIRLINE_PX = 3;
const COLOUR = /#[\da-f]{3,8}\b|\b(rgba?|hsla?|lab|lch|oklab|oklch)\(/i;

/** What is written out in a declaration that the scale has a name for; null: nothing. */
function rawIn(property: string, value: string): string | null {
  const colour = COLOUR.exec(value)?.[0];
  if (colour !== undefined) return colour;
  if (!SCALED.test(property)) return null;
  for (const [length, number, unit] of value.matchAll(/(?<![\w.-])(\d*\.?\d+)(px|rem)\b/g))
    if (property.startsWith('font') || unit === 'rem' || Number(number) > HAIRLINE_PX) return length;
  return null;
}

/** Every declaration outside `:root` that doesn't keep to the scale. */
function offences(css: string): string[] {
  const rules = css.replace(/\/\*.*?\*\//gs, '').matchAll(/([^{};]+)\{([^{}]*)\}/g);
  return [...rules].flatMap(([, selector = '', body = '']) =>
    selector.trim() === ':root'
      ? []
      : body.split(';').flatMap((declaration) => {
          const [, property = '', value = ''] = /^\s*([\w-]+)\s*:(.*)$/s.exec(declaration) ?? [];
          const raw = rawIn(property, value);
          return raw === null ? [] : [`${selector.trim()} { ${property}: ${value.trim()} }: ${raw}`];
        }),
  );
}

test('a style sheet writes out no size of type, no space, and no colour', () => {
  const own = '.a { margin: 0 3px; width: 90px; color: var(--dim); padding: calc(2 * var(--space-2)) 1em }';
  assert.deepEqual(offences(`:root { --a: #fff; --b: 12px }\n@media print { ${own} }`), []);
  for (const one of ['font-size: 0.8rem', 'padding: 4px', 'color: #fff', 'background: rgb(0 0 0 / 10%)'])
    assert.equal(offences(`@media print { .a { top: 0; ${one} } }`).length, 1, one);
  const files = FOLDERS.flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.css'))
      .map((name) => path.join(folder, name)),
  );
  assert.ok(files.length > 8, files.join());
  const found = files.flatMap((file) =>
    offences(readFileSync(file, 'utf8')).map((one) => `${path.basename(file)}: ${one}`),
  );
  assert.deepEqual(found, [], 'use the properties of styles.css');
});
