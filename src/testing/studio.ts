/**
 * For tests of the studio: a real one on its own port, its page in a real Chromium, and checks that apply to every section:
 * no requests elsewhere, no errors on the console, no accessibility violations (axe) in light and dark, wide and narrow, no
 * words that nobody knows.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'puppeteer-core';
import sharp from 'sharp';
import { startStudio, type RunningStudio } from '../studio/index.js';
import { pageProblems } from './accessibility.js';
import { openPage } from './browser.js';
import { oddWords } from './odd-words.js';

export interface StudioPage {
  studio: RunningStudio;
  page: Page;
  /** What went wrong in the page so far, see openPage(). */
  errors: string[];
  /** Addresses elsewhere that it requested. */
  stopped: string[];
  /** Goes to `#/...` and waits for the section's heading. */
  show(hash: string): Promise<void>;
  /** Opens the page of a run from the list of runs, once it is there. @param timeout - Default 30,000 ms. */
  openRun(name: string, timeout?: number): Promise<void>;
  /** Waits until an element's text matches. @returns The text. */
  text(selector: string, pattern: RegExp, timeout?: number): Promise<string>;
  /**
   * Fails on axe violations of what is shown, in both colour schemes, also on a narrow screen; on odd words (odd-words.ts); on
   * errors; on requests elsewhere.
   */
  check(): Promise<void>;
  /**
   * With DINO_STUDIO_PICTURES=1: what is shown, or one element, becomes docs/images/studio-NAME.png.
   * @param until - An element in it, below which nothing is drawn.
   */
  picture(name: string, selector?: string, until?: string): Promise<void>;
  close(): Promise<void>;
}

/** What is left below the last element of a picture, pixels. */
const MARGIN = 12;

/** Starts a studio on these folders and opens it by its link, as a person would. */
export async function openStudio(browser: Browser, folders: readonly string[]): Promise<StudioPage> {
  const studio = await startStudio({ folders, port: 0 });
  const { page, errors, stopped } = await openPage(browser, studio.origin);
  await page.setViewport({ width: 1200, height: 800 });
  await page.goto(studio.url);
  await page.waitForSelector('main h1');

  // code for the page is given as text, because these files are compiled without browser types
  const textsOf = (selector: string): string =>
    `[...document.querySelectorAll(${JSON.stringify(selector)})].map((one) => one.innerText)`;
  const text = async (selector: string, pattern: RegExp, timeout = 10_000): Promise<string> => {
    try {
      const found = await page.waitForFunction(
        `${textsOf(selector)}.find((text) => ${String(pattern)}.test(text))`,
        { timeout, polling: 50 },
      );
      return (await found.jsonValue()) as string;
    } catch {
      const shown = JSON.stringify(await page.evaluate(textsOf(selector)));
      throw new assert.AssertionError({
        message: `no ${selector} whose text matches ${String(pattern)} at ${page.url()}; there: ${shown}`,
      });
    }
  };

  const show = async (hash: string): Promise<void> => {
    await page.evaluate(`location.hash = ${JSON.stringify(hash)}`);
    await page.waitForSelector('main h1');
  };

  return {
    studio,
    page,
    errors,
    stopped,
    show,
    async openRun(name, timeout = 30_000) {
      await show('#/runs');
      await text('.runs th a', new RegExp(`^${name}$`), timeout);
      await page.evaluate(
        `[...document.querySelectorAll('.runs th a')].find((one) => one.innerText === ${JSON.stringify(name)}).click()`,
      );
      await text('main h1', new RegExp(`^${name}$`));
    },
    text,
    async check() {
      assert.deepEqual(await pageProblems(page), []);
      assert.deepEqual(await oddWords(page), []);
      assert.deepEqual(errors, []);
      assert.deepEqual(stopped, []);
    },
    async picture(name, selector, until) {
      if (process.env['DINO_STUDIO_PICTURES'] !== '1') return;
      await page.evaluate('scrollTo(0, 0)');
      const file = fileURLToPath(new URL(`../../docs/images/studio-${name}.png`, import.meta.url));
      let picture = sharp(await (selector === undefined ? page : (await page.$(selector))!).screenshot());
      if (selector !== undefined && until !== undefined) {
        const rest = (await page.evaluate(`(() => {
          const [all, last] = [${JSON.stringify(selector)}, ${JSON.stringify(until)}].map((one) =>
            document.querySelector(one).getBoundingClientRect());
          return all.bottom - last.bottom;
        })()`)) as number;
        const { width, height } = await picture.metadata();
        picture = picture.extract({ left: 0, top: 0, width, height: Math.round(height - rest) + MARGIN });
      }
      writeFileSync(file, await picture.png({ palette: true, quality: 90 }).toBuffer());
    },
    async close() {
      await page.close();
      await studio.close();
    },
  };
}
