/** For tests: user actions in our pages, as text that runs there, because these files are compiled without browser types. */
import type { Page } from 'puppeteer-core';

/** Gives a value to the control with this label. */
const setValue = (page: Page, label: string, value: number | string, within: string): Promise<unknown> =>
  page.evaluate(`(() => {
    const labels = [...document.querySelectorAll(${JSON.stringify(`${within} label[for]`)})];
    const input = document.getElementById(labels.find((one) => one.textContent === ${JSON.stringify(label)}).htmlFor);
    input.value = ${JSON.stringify(value)};
    input.dispatchEvent(new Event('input', { bubbles: true }));
  })()`);

/** Sets a slider by its label. */
export async function setSlider(page: Page, label: string, value: number, within = 'body'): Promise<void> {
  await setValue(page, label, value, within);
}

/** Chooses how maps are laid over their pictures. */
export async function drawMaps(
  page: Page,
  style: 'smooth' | 'patches' | 'map',
  within = 'body',
): Promise<void> {
  await setValue(page, 'Drawn', style, within);
}

/** Draws maps without their pictures: the colours that are on the screen are then those of the values. */
export const drawOnlyMaps = (page: Page, within = 'body'): Promise<void> => drawMaps(page, 'map', within);

/** Clicks what has this role and this name, once it exists. */
export async function pressRole(page: Page, role: string, words: string): Promise<void> {
  for (let left = 5; ; left--) {
    const element = await page.waitForSelector(`::-p-aria([name="${words}"][role="${role}"])`);
    try {
      await element!.click();
      return;
    } catch (error) {
      // the page has drawn it again in the meantime
      if (left === 0 || !/detached|not clickable/i.test(String(error))) throw error;
    }
  }
}

/** Clicks the button with this name, once it exists. */
export const pressButton = (page: Page, words: string): Promise<void> => pressRole(page, 'button', words);

/** Opens a folder of the list of folders, once it is there. */
export async function openFolder(page: Page, name: string): Promise<void> {
  const found = `[...document.querySelectorAll('.folder-list button')].find((one) => one.firstElementChild.innerText.trim() === ${JSON.stringify(name)})`;
  await page.waitForFunction(found);
  await page.evaluate(`${found}.click()`);
}

/** Moves a slider of the section Find, by its label, once it is there. */
export async function slide(page: Page, label: string, value: number): Promise<void> {
  const found = `[...document.querySelectorAll('.slider')].find((one) => one.firstElementChild.textContent === ${JSON.stringify(label)})`;
  await page.waitForFunction(`${found} !== undefined`);
  await page.evaluate(`(() => {
    const input = ${found}.querySelector('input');
    input.value = ${value};
    input.dispatchEvent(new Event('input', { bubbles: true }));
  })()`);
}

/** Chooses what Look shows of an image. */
export const showView = (page: Page, words: string): Promise<void> => pressRole(page, 'tab', words);

/** Waits until Look has finished computing and shows this many pictures. */
export async function lookSettled(page: Page, count = 1): Promise<void> {
  await page.waitForFunction(
    `document.querySelector('#look-status')?.dataset.state === 'ready' &&
     document.querySelectorAll('.seen .map-view > canvas').length === ${count}`,
    { timeout: 60_000, polling: 100 },
  );
}

/** Types into a field, once it exists, in place of what it holds. */
export async function typeInto(page: Page, selector: string, text: string): Promise<void> {
  const field = (await page.waitForSelector(selector))!;
  await field.click({ count: 3 });
  await field.type(text);
}

/** What a field holds, once it exists. */
export async function valueOf(page: Page, selector: string): Promise<unknown> {
  await page.waitForSelector(selector);
  return page.evaluate(`document.querySelector(${JSON.stringify(selector)}).value`);
}

/** The text of every element that matches. */
export const textsOf = (page: Page, selector: string): Promise<string[]> =>
  page.evaluate(
    `[...document.querySelectorAll(${JSON.stringify(selector)})].map((one) => one.innerText)`,
  ) as Promise<string[]>;

/** Gives a file to an input of type file. */
export async function giveFile(page: Page, selector: string, file: string): Promise<void> {
  const input = await page.$(selector);
  if (input === null) throw new Error(`no ${selector}`);
  await (input as unknown as { uploadFile(path: string): Promise<void> }).uploadFile(file);
}

/** Colours of a canvas at places given as shares of its sides, [r, g, b] each. */
export const coloursAt = (
  page: Page,
  canvas: string,
  places: readonly (readonly [x: number, y: number])[],
): Promise<number[][]> =>
  page.evaluate(`(async () => {
    // recent changes are drawn in the next frame
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 30)));
    const canvas = document.querySelector(${JSON.stringify(canvas)});
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return ${JSON.stringify(places)}.map(([x, y]) => {
      const at = 4 * (Math.floor(y * canvas.height) * canvas.width + Math.floor(x * canvas.width));
      return [...data.slice(at, at + 3)];
    });
  })()`) as Promise<number[][]>;

/** Colour in the middle of each patch of a map's canvas, (rows * columns) of [r, g, b]. */
export const patchColours = (
  page: Page,
  canvas: string,
  rows: number,
  columns: number,
): Promise<number[][]> =>
  coloursAt(
    page,
    canvas,
    Array.from({ length: rows * columns }, (_, i) => [
      ((i % columns) + 0.5) / columns,
      (Math.floor(i / columns) + 0.5) / rows,
    ]),
  );

/** How much what a canvas shows in its middle varies: the standard deviation of its green, 0 to 127.5. */
export const contrastOf = (page: Page, canvas: string): Promise<number> =>
  page.evaluate(`(() => {
    const canvas = document.querySelector(${JSON.stringify(canvas)});
    const [w, h] = [canvas.width >> 1, canvas.height >> 1];
    const { data } = canvas.getContext('2d').getImageData(w >> 1, h >> 1, w, h);
    const values = Array.from({ length: w * h }, (_, i) => data[4 * i + 1]);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  })()`) as Promise<number>;

/** The largest difference of a channel, 0 to 255. */
export const worstColour = (got: readonly number[][], expected: readonly (readonly number[])[]): number =>
  Math.max(...got.flatMap((colour, i) => colour.map((value, c) => Math.abs(value - expected[i]![c]!))));

/** Drops a file on the middle of an element, as a person drags it from a folder. */
export async function dropFile(page: Page, selector: string, file: string): Promise<void> {
  const box = await (await page.waitForSelector(selector))!.boundingBox();
  if (box === null) throw new Error(`${selector} is not on the screen`);
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const session = await page.createCDPSession();
  const data = { items: [], files: [file], dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
    await session.send('Input.dispatchDragEvent', { type, x, y, data });
  await session.detach();
}
