/** `dino export --format web --index` as a user runs it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type BackboneOptions, buildBackbone } from '../../models/index.js';
import { hashFill } from '../../testing/hash-fill.js';
import { writeColourFolders, writeMassive, writeOfficialWeights } from '../../testing/saved-run.js';
import type { WebManifest } from '../../plain/web-manifest.js';
import { writePth } from '../../weights/pth-write.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-web-'));
const images = path.join(folder, 'images');
const weights = path.join(folder, 'one.pth');
const others = path.join(folder, 'two.pth');
const index = path.join(folder, 'photos.index');

before(async () => {
  await writeColourFolders(images, 4);
  for (const [file, scale] of [
    [weights, 0.1],
    [others, 0.05],
  ] as const) {
    const backbone = hashFill(buildBackbone({ arch: 'vit_tiny', patchSize: 16, imgSize: 32 }), scale);
    writePth(file, backbone.stateDict());
    backbone.dispose();
  }
});
after(() => rmSync(folder, { recursive: true }));

function dino(args: readonly string[], expected = 0) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8' });
  assert.equal(status, expected, stderr);
  return { stdout, stderr };
}
const site = (name: string): string => path.join(folder, name);
const exportTo = (name: string, file: string, ...flags: string[]): string[] => [
  ...['export', file, '--format', 'web', '--output', site(name), ...flags],
];
const galleryOf = (name: string) => ({
  images: JSON.parse(readFileSync(path.join(site(name), 'gallery', 'images.json'), 'utf8')) as {
    name: string;
    label: string | null;
  }[],
  features: new Float32Array(
    Uint8Array.from(readFileSync(path.join(site(name), 'gallery', 'features.bin'))).buffer,
  ),
});

it('shows the labels of a classifier that the weights are of, and says where it can not', () => {
  const classifier = path.join(folder, 'colours.safetensors');
  const fit = (file: string, ...flags: string[]) =>
    dino([
      'classify',
      'fit',
      weights,
      images,
      '--output',
      file,
      '--device',
      'cpu',
      '--num_workers',
      '0',
      ...flags,
    ]);
  fit(classifier, '--method', 'logistic');
  const { stdout } = dino(exportTo('labelled', classifier, '--title', 'Colours'));
  assert.match(stdout, /it names one of 3 classes, with a probability/);
  const manifest = JSON.parse(readFileSync(path.join(site('labelled'), 'model.json'), 'utf8')) as WebManifest;
  assert.equal(manifest.title, 'Colours');
  assert.deepEqual(manifest.classifier?.classes, ['blue', 'green', 'red']);
  assert.ok(manifest.files.includes(manifest.classifier.file));
  assert.ok(manifest.classifier.measured!.accuracy > 0.9);

  const neighbours = path.join(folder, 'neighbours.safetensors');
  fit(neighbours, '--method', 'knn');
  const { stderr } = dino(exportTo('unlabelled', neighbours));
  assert.match(stderr, /the page does not show the classifier's labels: only logistic regression/);
  const plain = JSON.parse(readFileSync(path.join(site('unlabelled'), 'model.json'), 'utf8')) as WebManifest;
  assert.equal(plain.classifier, null);
});

it('says what the page does with an image, of networks with and without attention and features of patches', () => {
  const file = path.join(folder, 'network.pth');
  const line = (options: BackboneOptions, ...flags: string[]): string => {
    const backbone = hashFill(buildBackbone(options), 0.1);
    writePth(file, backbone.stateDict());
    backbone.dispose();
    return dino(exportTo('told', file, ...flags)).stdout.split('\n')[1]!;
  };
  const vit = { arch: 'vit_tiny', patchSize: 16, imgSize: 32 } as const;
  const convnext = { arch: 'dinov3_convnext_tiny' } as const;
  assert.equal(line(vit), 'the page draws attention and shows likeness and parts in colour');
  const among = `finds neighbours among ${3 * 4} images`;
  assert.equal(
    line(vit, '--images', images),
    `the page draws attention, shows likeness and parts in colour and ${among}`,
  );
  assert.equal(
    line(convnext),
    'dinov3_convnext_tiny has no attention to draw: the page shows likeness and parts in colour',
  );
  assert.equal(
    line({ arch: 'resnet18' }, '--images', images),
    `resnet18 has no attention to draw: the page ${among}`,
  );
  assert.equal(
    line({ arch: 'resnet18' }),
    'resnet18 has no attention to draw: without --images or --index the page finds no neighbours either',
  );
});

it('takes images and features of an index of the same weights, and refuses one of others', () => {
  dino(['index', weights, images, '--output', index, '--device', 'cpu', '--num_workers', '0']);
  dino(exportTo('computed', weights, '--images', images));
  // the same weights elsewhere are the same weights
  const copied = path.join(folder, 'copied.pth');
  copyFileSync(weights, copied);
  dino(exportTo('indexed', copied, '--index', index));
  const [computed, indexed] = [galleryOf('computed'), galleryOf('indexed')];
  const byName = (gallery: typeof computed) =>
    new Map(
      gallery.images.map(({ name, label }, i) => [
        name,
        { label, feature: gallery.features.subarray(i * 192, (i + 1) * 192) },
      ]),
    );
  const ours = byName(computed);
  assert.ok(ours.size >= 12);
  assert.deepEqual([...byName(indexed).keys()].sort(), [...ours.keys()].sort());
  for (const [name, { label, feature }] of byName(indexed)) {
    assert.equal(label, ours.get(name)!.label, name);
    const worst = Math.max(...feature.map((value, d) => Math.abs(value - ours.get(name)!.feature[d]!)));
    assert.ok(worst < 1e-5, `${name}: ${worst}`);
  }

  const refused = dino(exportTo('refused', others, '--index', index), 1).stderr;
  assert.match(
    refused,
    /photos\.index was made with other weights \(teacher of .*one\.pth\) than teacher of .*two\.pth/,
  );
  assert.match(refused, /dino index .*two\.pth/);
  assert.ok(!existsSync(site('refused')), 'nothing was written');

  const student = dino(
    exportTo('refused', weights, '--index', index, '--checkpoint-key', 'student'),
    1,
  ).stderr;
  assert.match(student, /student/);
  assert.ok(!existsSync(site('refused')), 'nothing was written');

  // features of patches, or of other sizes, are not those that the page computes
  for (const [name, flags, came] of [
    ['patches', ['--features', 'patch-mean'], /patch-mean features of 32 pixels/],
    ['sizes', ['--resize', '64', '--crop', '48'], /cls features of 48 pixels \(resized to 64\)/],
  ] as const) {
    const other = path.join(folder, `${name}.index`);
    dino(['index', weights, images, '--output', other, '--device', 'cpu', '--num_workers', '0', ...flags]);
    const { stderr } = dino(exportTo('refused', weights, '--index', other), 2);
    assert.match(stderr, came);
    assert.match(stderr, /the page computes cls features of 32 pixels .*--images/s);
    assert.ok(!existsSync(site('refused')), 'nothing was written');
  }

  const [gone] = computed.images;
  rmSync(path.join(images, gone!.name));
  const left = dino(exportTo('left', weights, '--index', index));
  assert.match(left.stderr, /skipped .*does not exist any more/);
  assert.deepEqual(
    galleryOf('left')
      .images.map(({ name }) => name)
      .sort(),
    [...ours.keys()].filter((name) => name !== gone!.name).sort(),
  );
  const both = dino(exportTo('both', weights, '--index', index, '--images', images), 2).stderr;
  assert.match(both, /--images and --index: give one of the two/);
});

it('refuses what has no effect: a transform without images, attention of a network without any, 8 bits of a ResNet', () => {
  const resnet = path.join(folder, 'resnet.pth');
  writeOfficialWeights(resnet, 'resnet18');
  const none = dino(exportTo('none', weights, '--whiten', 'pca'), 2).stderr;
  assert.match(none, /--whiten: .* no neighbours: give --images or leave it out/);
  const unseen = dino(exportTo('none', resnet, '--attention'), 2).stderr;
  assert.match(unseen, /resnet18 has no attention to show: use a vision transformer/);
  const whole = dino(exportTo('none', resnet, '--dtype', 'q8'), 2).stderr;
  assert.match(whole, /--dtype q8: resnet18 has no .*: use fp16/);
  assert.ok(!existsSync(site('none')), 'nothing was written');
});

it('says that features differ too much in 8 bits, and what to use', () => {
  const massive = path.join(folder, 'massive.pth');
  writeMassive(massive);
  const { stderr } = dino(exportTo('massive', massive, '--dtype', 'q8'), 1);
  assert.match(stderr, /8-bit weights change this model's features too much \(cosine similarity 0\.\d\d/);
  assert.match(stderr, /--dtype fp16/);
  assert.doesNotMatch(stderr, /internal|report it/);
});
