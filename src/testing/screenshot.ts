/**
 * For tests: compares the appearance of an element with a picture in test/fixtures/studio. Both are slightly blurred before
 * the comparison, and a few pixels may differ, so that fonts and antialiasing may differ between machines; a picture of
 * something else fails. `DINO_WRITE_PICTURES=1` rewrites the pictures: look at them before committing.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import pixelmatch from 'pixelmatch';
import type { Page } from 'puppeteer-core';
import sharp from 'sharp';

/** How long a picture may take to become what it should be. */
const PATIENCE_MS = 5000;
const FOLDER = fileURLToPath(new URL('../../test/fixtures/studio', import.meta.url));
/** Pixels. The strokes of two fonts become the same grey, while patches of 8 pixels stay distinct. */
const BLUR = 2;
/** Perceived colour difference from which a pixel counts as different, 0 to 1 (pixelmatch's threshold). */
const COLOUR = 0.1;
/** Pixels by which a side may be longer or shorter, because lines of text differ between fonts. */
const SIDE = 12;
/** How whole pages are kept. */
const SMALL = { quality: 60, effort: 6 };

export interface PictureOptions {
  /** Share of the pixels that may differ; use more for elements with much text. */
  allowed?: number;
  /** The picture is kept in this share of its size, and not to the last bit, for whole pages. Default 1. */
  scale?: number;
  /** Selectors of what differs from run to run (times, speeds, paths): its place stays empty. */
  hidden?: readonly string[];
}

/** The result of a comparison. */
export interface PictureDifference {
  /** Share of the pixels that differ, 0 to 1; 1 for a picture of a different size. */
  share: number;
  /** Makes a PNG: differing pixels in red over the expected picture; null where sizes differ. */
  draw: (() => Promise<Buffer>) | null;
}

async function blurred(png: Uint8Array, width: number, height: number): Promise<Uint8Array> {
  return sharp(png)
    .flatten({ background: '#fff' })
    .resize(width, height, { fit: 'fill' })
    .blur(BLUR)
    .ensureAlpha()
    .raw()
    .toBuffer();
}

/** Compares two PNGs; the constants above say what counts as the same. */
export async function comparePictures(got: Uint8Array, expected: Uint8Array): Promise<PictureDifference> {
  const [one, { width, height }] = await Promise.all([sharp(got).metadata(), sharp(expected).metadata()]);
  if (Math.abs(one.width - width) > SIDE || Math.abs(one.height - height) > SIDE)
    return { share: 1, draw: null };
  const [a, b] = await Promise.all([blurred(got, width, height), blurred(expected, width, height)]);
  const drawn = new Uint8Array(width * height * 4);
  const differing = pixelmatch(a, b, drawn, width, height, { threshold: COLOUR });
  const raw = { width, height, channels: 4 } as const;
  return { share: differing / (width * height), draw: () => sharp(drawn, { raw }).png().toBuffer() };
}

/** The selector of all that is in the window. */
export const WINDOW = ':root';

/** The first element that matches `selector`, or the window, as PNG. */
async function pictureOf(
  page: Page,
  selector: string,
  { scale = 1, hidden = [] }: PictureOptions,
): Promise<Uint8Array> {
  const element = await page.$(selector);
  assert.ok(element !== null, `no ${selector} to take a picture of`);
  // recent changes are drawn in the next frame
  await page.evaluate('new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 30)))');
  const see = (visibility: string): Promise<unknown> =>
    page.evaluate(
      `document.querySelectorAll(${JSON.stringify(hidden.join() || ':not(*)')}).forEach((one) => (one.style.visibility = '${visibility}'))`,
    );
  await see('hidden');
  const png = await (selector === WINDOW ? page : element).screenshot({ optimizeForSpeed: true });
  await see('');
  if (scale === 1) return png;
  const { width } = await sharp(png).metadata();
  return sharp(png)
    .resize(Math.round(width * scale))
    .png({ compressionLevel: 1 })
    .toBuffer();
}

/** Whole pages are full of pictures, of which WebP takes a third of a PNG's bytes. */
const fileOf = (name: string, { scale = 1 }: PictureOptions): string =>
  `${name}.${scale === 1 ? 'png' : 'webp'}`;

async function expectedPicture(name: string, options: PictureOptions): Promise<Uint8Array> {
  const file = path.join(FOLDER, fileOf(name, options));
  assert.ok(existsSync(file), `${file} does not exist: DINO_WRITE_PICTURES=1 writes it`);
  return sharp(file).png().toBuffer();
}

/** Pictures are taken again until one is as it should be: on a busy machine a page may draw late. */
async function compareUntil(
  take: () => Promise<Uint8Array>,
  expected: Uint8Array,
  isRight: (share: number) => boolean,
): Promise<Awaited<ReturnType<typeof comparePictures>> & { got: Uint8Array }> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const got = await take();
    const compared = await comparePictures(got, expected);
    if (isRight(compared.share) || performance.now() > end) return { ...compared, got };
  }
}

const isWriting = (): boolean => process.env['DINO_WRITE_PICTURES'] === '1';

/**
 * Fails unless the first element that matches `selector` looks like test/fixtures/studio/NAME.png (.webp where `scale` is not
 * 1). On failure the actual picture, the expected one and the difference are in a temporary folder that the message names.
 * Give the page a fixed viewport.
 */
export async function looksAs(
  page: Page,
  selector: string,
  name: string,
  options: PictureOptions = {},
): Promise<void> {
  const { allowed = 0.02, scale = 1 } = options;
  const take = (): Promise<Uint8Array> => pictureOf(page, selector, options);
  if (isWriting()) {
    mkdirSync(FOLDER, { recursive: true });
    const picture = sharp(await take());
    const coded = scale === 1 ? picture.png({ palette: true, quality: 95 }) : picture.webp(SMALL);
    writeFileSync(path.join(FOLDER, fileOf(name, options)), await coded.toBuffer());
    return;
  }
  const expected = await expectedPicture(name, options);
  const { got: last, share, draw } = await compareUntil(take, expected, (now) => now <= allowed);
  if (share <= allowed) return;
  const folder = mkdtempSync(path.join(os.tmpdir(), `dino-picture-${name}-`));
  writeFileSync(path.join(folder, 'got.png'), last);
  writeFileSync(path.join(folder, 'expected.png'), expected);
  if (draw !== null) writeFileSync(path.join(folder, 'difference.png'), await draw());
  const why =
    draw === null
      ? 'its size is different'
      : `${(100 * share).toFixed(1)} % of its pixels differ, at most ${(100 * allowed).toFixed(1)} % may`;
  assert.fail(
    `${selector} does not look like test/fixtures/studio/${fileOf(name, options)}: ${why}. See got.png, expected.png and ` +
      `difference.png in ${folder}; if the change is intended, DINO_WRITE_PICTURES=1 rewrites the picture.`,
  );
}

/** Fails if looksAs() would pass: makes sure that the picture distinguishes what it must. */
export async function looksUnlike(
  page: Page,
  selector: string,
  name: string,
  options: PictureOptions = {},
): Promise<void> {
  const { allowed = 0.02 } = options;
  if (isWriting()) return;
  const expected = await expectedPicture(name, options);
  const take = (): Promise<Uint8Array> => pictureOf(page, selector, options);
  const { share } = await compareUntil(take, expected, (now) => now > allowed);
  assert.ok(share > allowed, `${selector} looks like ${name}: only ${(100 * share).toFixed(1)} % differ`);
}

/** Windows of a desk, a tablet and a phone, pixels. */
const WINDOWS = [
  [1440, 900],
  [1024, 768],
  [390, 844],
] as const;
/** After a change of the window, ms. A picture that is compared is taken again where it came too early. */
const REST_MS = { compared: 50, written: 300 };

/**
 * looksAs() at the widths of a desk, a tablet and a phone, light and dark: NAME-WIDTH-light.webp and NAME-WIDTH-dark.webp.
 * Afterwards the page has its size and colours again.
 *
 * @param ready - Called before each picture; what else is moving has to come to rest.
 * @param optionsAt - For the pictures in a window of that width.
 */
export async function looksAtWidths(
  page: Page,
  selector: string,
  name: string,
  ready: () => Promise<unknown>,
  optionsAt: (width: number) => PictureOptions,
): Promise<void> {
  const before = page.viewport();
  const rest = isWriting() ? REST_MS.written : REST_MS.compared;
  for (const [width, height] of WINDOWS)
    for (const scheme of ['light', 'dark'] as const) {
      await page.setViewport({ width, height });
      await page.emulateMediaFeatures([
        { name: 'prefers-color-scheme', value: scheme },
        { name: 'prefers-reduced-motion', value: 'reduce' },
      ]);
      await page.mouse.move(1, 1);
      await page.evaluate(
        `new Promise((resolve) => setTimeout(() => requestAnimationFrame(resolve), ${rest}))`,
      );
      await ready();
      await looksAs(page, selector, `${name}-${width}-${scheme}`, optionsAt(width));
    }
  await page.emulateMediaFeatures([]);
  if (before !== null) await page.setViewport(before);
}
