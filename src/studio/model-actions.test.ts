/**
 * Look, Index and Export wherever a run or a model is shown, in a real browser: each leads on with the model that it stands
 * beside. And what opens of an index is accessible: its outliers, the dialog of labels, proposals.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import { buildIndex } from '../explore/build-index.js';
import { ImageIndex } from '../explore/image-index.js';
import { labelImages } from '../explore/labels.js';
import { loadModel } from '../model.js';
import { checkpointsPath } from '../run/checkpoint-files.js';
import { launchBrowser } from '../testing/browser.js';
import { openFolder, pressButton, pressRole, textsOf } from '../testing/page.js';
import { writeColourFolders, writeOfficialWeights, writeTinyRun } from '../testing/saved-run.js';
import { openStudio, type StudioPage } from '../testing/studio.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-models-'));
const images = path.join(folder, 'images');
const [first, second] = ['first', 'second'].map((name) => path.join(folder, 'runs', name)) as [
  string,
  string,
];
const checkpoint = path.join(checkpointsPath(first), 'step-00000012');
const weights = path.join(folder, 'dino_vit_tiny16.pth');
const index = path.join(folder, 'photos.index');
const browser: Browser | string = await launchBrowser();

describe('a model that is shown', { skip: typeof browser === 'string' ? browser : false }, () => {
  let studio: StudioPage;
  before(async () => {
    for (const run of [first, second]) writeTinyRun(run);
    writeOfficialWeights(weights, 'vit_tiny');
    await writeColourFolders(images, 6);
    {
      using model = loadModel(second, { device: 'cpu' });
      await buildIndex(model, images, { output: index, numWorkers: 0, weights: { given: second } });
      using made = ImageIndex.open(index);
      const rowsOf = (label: string): number[] =>
        made.images.flatMap((image, row) => (image.label === label ? [row] : [])).slice(0, 4);
      for (const label of ['red', 'green']) labelImages(made, rowsOf(label), label);
    }
    studio = await openStudio(browser as Browser, [folder]);
  });
  after(async () => {
    await studio.close();
    await (browser as Browser).close();
    rmSync(folder, { recursive: true });
  });

  const back = (): Promise<unknown> => studio.page.evaluate('history.back()');
  /** The menu has links of the same names. */
  const follow = async (within: string, words: string): Promise<void> => {
    const found = `[...document.querySelectorAll(${JSON.stringify(`${within} a.button`)})].find((one) => one.innerText === ${JSON.stringify(words)})`;
    await studio.page.waitForFunction(`${found} !== undefined`);
    await studio.page.evaluate(`${found}.click()`);
  };
  /** Waits until the select of a section has this value. */
  const isChosen = (selector: string, value: string): Promise<unknown> =>
    studio.page.waitForFunction(
      `document.querySelector(${JSON.stringify(selector)})?.value === ${JSON.stringify(value)}`,
    );
  const isLookedWith = async (model: string, chosen = model): Promise<void> => {
    await studio.text('main h1', /^Look$/);
    await isChosen('main label:nth-of-type(1) select', model);
    if (model === weights) return;
    await isChosen('main label:nth-of-type(2) select', chosen);
  };
  /** In the form of a new index, once a folder is chosen. */
  const isIndexedWith = async (model: string): Promise<void> => {
    await studio.text('main h1', /^New index$/);
    await openFolder(studio.page, folder);
    await openFolder(studio.page, 'images');
    await studio.text('.pick-folder code', /images$/);
    await pressButton(studio.page, 'Use this folder');
    await isChosen('select[name=weights]', model);
  };
  /** Opens the dialog, looks at it, closes it. @returns The commands. */
  const exported = async (button = 'Export'): Promise<string[]> => {
    await pressButton(studio.page, button);
    await studio.text('dialog h2', /^Export this model$/);
    const commands = await textsOf(studio.page, 'dialog .command code');
    assert.equal(commands.length, 3);
    assert.match(commands[0]!, /^dino export .* --format web /, 'the page for others comes first');
    await studio.check();
    await studio.page.keyboard.press('Escape');
    await studio.page.waitForFunction(`document.querySelector('dialog') === null`);
    assert.match(String(await studio.page.evaluate('document.activeElement.innerText')), /^Export$/);
    return commands;
  };
  const openRun = async (name: string): Promise<void> => {
    await studio.show('#/runs');
    await studio.text('.runs th a', new RegExp(`^${name}$`), 60_000);
    await pressRole(studio.page, 'link', name);
    await studio.text('main h1', new RegExp(`^${name}$`));
  };

  it('on the page of a run, and for each of its checkpoints', async () => {
    await openRun('runs/first');
    const commands = await exported();
    for (const command of commands) assert.ok(command.includes(first), command);
    await follow('.run-head', 'Look');
    await isLookedWith(first);
    await back();
    await follow('.run-head', 'Index');
    await isIndexedWith(first);

    await openRun('runs/first');
    const openCheckpoints = async (): Promise<void> => {
      await studio.text('.details summary', /^Checkpoints: 1$/);
      await studio.page.evaluate(
        `document.querySelectorAll('.details details').forEach((one) => (one.open = true))`,
      );
    };
    await openCheckpoints();
    assert.ok((await exported('Export step 12'))[1]!.includes(checkpoint));
    await pressRole(studio.page, 'link', 'Look with step 12');
    await isLookedWith(first, checkpoint);
    await back();
    await openCheckpoints();
    await pressRole(studio.page, 'link', 'Index with step 12');
    await isIndexedWith(checkpoint);
    await studio.text('select[name=weights]', /runs\/first \(its checkpoint of step 12\)/);
    await studio.check();
  });

  it('where runs are compared, for each of them', async () => {
    await studio.show('#/runs');
    for (const name of ['first', 'second'])
      await (await studio.page.waitForSelector(`[aria-label="Compare runs/${name}"]`))!.click();
    await pressRole(studio.page, 'link', 'Compare 2 runs');
    await studio.text('main h1', /^2 runs compared$/);
    for (const [name, run] of [
      ['runs/first', first],
      ['runs/second', second],
    ] as const) {
      assert.ok((await exported(`Export ${name}`))[0]!.includes(run));
      await pressRole(studio.page, 'link', `Look with ${name}`);
      await isLookedWith(run);
      await back();
      await studio.text('main h1', /^2 runs compared$/);
    }
    await pressRole(studio.page, 'link', 'Index with runs/second');
    await isIndexedWith(second);
  });

  it('in Look, with its attention heads and the network that is chosen', async () => {
    await studio.show(`#/look?${new URLSearchParams({ weights, heads: '3' }).toString()}`);
    await isLookedWith(weights);
    for (const command of await exported()) assert.match(command, /dino_vit_tiny16\.pth .*--num-heads 3/);
    await follow('main', 'Index');
    await isIndexedWith(weights);
    await isChosen('input[type=number]', '3');
    await studio.show(`#/look?${new URLSearchParams({ weights: second, network: 'student' }).toString()}`);
    await isLookedWith(second);
    for (const command of await exported()) assert.match(command, /second .*--checkpoint-key student/);
  });

  it('above an index, and tells of weights that are gone', async () => {
    await studio.show(`#/find?${new URLSearchParams({ index }).toString()}`);
    await studio.text('.grid-head [role=status]', /^18 images$/);
    assert.ok((await exported('Export second'))[0]!.includes(second));
    assert.deepEqual(await textsOf(studio.page, '.index-head a.button'), ['Look']);
    await pressRole(studio.page, 'link', 'Look with second');
    await isLookedWith(second);
    const gone = path.join(folder, 'gone.pth');
    await studio.show(`#/find?${new URLSearchParams({ new: '1', weights: gone, images }).toString()}`);
    await studio.text('.note', /gone\.pth is not among the models of this studio’s folders/);
  });

  it('finds outliers, labels a selection and proposes labels, for everybody', async () => {
    const at = (view: string): Promise<void> =>
      studio.show(`#/find?${new URLSearchParams({ index, map: 'off', view }).toString()}`);
    await at('outliers');
    await studio.text('.note', /^The oddest first\./, 30_000);
    await studio.check();
    await at('labels');
    await pressButton(studio.page, 'Select these');
    await studio.text('.tray [role=status]', /^8 selected/);
    await pressButton(studio.page, 'Label');
    await studio.page.waitForSelector('dialog[open] input[name=label]');
    await studio.check();
    await studio.page.keyboard.press('Escape');
    await studio.page.waitForFunction(`document.querySelector('dialog') === null`);
    await pressButton(studio.page, 'Propose labels for images like these');
    await studio.text('.proposals', /\d+ proposals?, the surest first|No other image/);
    await studio.check();
  });
});
