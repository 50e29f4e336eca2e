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

/** Draws maps without their pictures: the colours that are on the screen are then those of the values. */
export async function drawOnlyMaps(page: Page, within = 'body'): Promise<void> {
  await setValue(page, 'Drawn', 'map', within);
}

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
export async function showView(page: Page, words: string): Promise<void> {
  const found = `[...document.querySelectorAll('[role=tab], .views label')].find((one) => one.innerText.trim() === ${JSON.stringify(words)})`;
  await page.waitForFunction(`${found} !== undefined`);
  await page.evaluate(`(${found}.querySelector('input') ?? ${found}).click()`);
}

/** Waits until Look has finished computing and shows this many pictures. */
export async function lookSettled(page: Page, count = 1): Promise<void> {
  await page.waitForFunction(
    `document.querySelector('#look-status')?.dataset.state === 'ready' &&
     document.querySelectorAll('.seen .map-view > canvas').length === ${count}`,
    { timeout: 60_000, polling: 100 },
  );
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

/** Colour in the middle of each patch of a map's canvas, (rows * columns) of [r, g, b]. */
export const patchColours = (
  page: Page,
  canvas: string,
  rows: number,
  columns: number,
): Promise<number[][]> =>
  page.evaluate(`(async () => {
    // recent changes are drawn in the next frame
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 30)));
    const canvas = document.querySelector(${JSON.stringify(canvas)});
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const [w, h] = [canvas.width / ${columns}, canvas.height / ${rows}];
    return Array.from({ length: ${rows * columns} }, (_, i) => {
      const x = Math.floor(((i % ${columns}) + 0.5) * w), y = Math.floor((Math.floor(i / ${columns}) + 0.5) * h);
      return [...data.slice((y * canvas.width + x) * 4, (y * canvas.width + x) * 4 + 3)];
    });
  })()`) as Promise<number[][]>;

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
