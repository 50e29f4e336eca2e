/** For tests: words on a page that a newcomer doesn't know or that are not English, and signs that a font may lack. */
import type { Page } from 'puppeteer-core';

/** What was seen once and must not come back. */
const ODD: readonly RegExp[] = [
  /Last line/,
  /In words/,
  /Take it away/,
  /Make it\b/,
  /in the middle(?! of)/,
  /\b(?<!there )is no (?!longer\b)\w+/i,
  /(?<![\d.,])1 (?!is\b|was\b|has\b)[a-z]+s\b/, // not of 159.1 images
  /to be like/,
  /How many; 0 chooses/,
  /silhouette/,
  /thick of it/,
  /\d\.\d+ min\b/,
  /\p{Extended_Pictographic}/u,
];

/** Attributes that people read or hear. */
const SAID = ['title', 'aria-label', 'placeholder', 'alt'];

/** @returns For each odd word the line that it is in. */
export async function oddWords(page: Page): Promise<string[]> {
  const lines = (await page.evaluate(`[
    ...document.body.innerText.split('\\n'),
    ...${JSON.stringify(SAID)}.flatMap((name) =>
      [...document.querySelectorAll('[' + name + ']')].map((one) => one.getAttribute(name)),
    ),
  ]`)) as string[];
  return [...new Set(lines)].flatMap((line) =>
    ODD.flatMap((pattern) => {
      const found = pattern.exec(line)?.[0];
      return found === undefined ? [] : [`“${found}” in: ${line}`];
    }),
  );
}
