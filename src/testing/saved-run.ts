/** For tests: a run folder as left by training, with a tiny model with initial weights, and folders of images. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { MultiCropWrapper } from '../dino/index.js';
import { buildBackbone, DINOHead } from '../models/index.js';
import { manualSeed, noGrad } from '../torch/index.js';
import { PAPER } from '../train/presets.js';
import type { TrainSettings } from '../run/settings.js';
import { writePth } from '../weights/pth-write.js';
import { writeSafetensors } from '../weights/safetensors.js';
import { hashFill } from './hash-fill.js';

export const TINY: TrainSettings = {
  ...PAPER,
  arch: 'vit',
  embedDim: 24,
  depth: 3,
  numHeads: 3,
  patchSize: 8,
  globalCropsSize: 32,
  localCropsSize: 16,
  outDim: 16,
  headHiddenDim: 32,
  headBottleneckDim: 8,
  precision: 'fp32',
};

/** @returns The network whose weights were written as both teacher and student. */
export function writeTinyRun(run: string): MultiCropWrapper {
  manualSeed(3);
  const { arch, embedDim, depth, numHeads, patchSize, globalCropsSize, outDim } = TINY;
  const backbone = buildBackbone({ arch, embedDim, depth, numHeads, patchSize, imgSize: globalCropsSize });
  const head = new DINOHead({
    inDim: backbone.embedDim,
    outDim,
    hiddenDim: TINY.headHiddenDim,
    bottleneckDim: TINY.headBottleneckDim,
  });
  const network = new MultiCropWrapper(backbone, head);
  const folder = path.join(run, 'checkpoints', 'step-00000012');
  mkdirSync(folder, { recursive: true });
  for (const key of ['teacher', 'student']) {
    writeSafetensors(path.join(folder, `${key}.safetensors`), network.stateDict(), { format: 'pt' });
  }
  writeFileSync(path.join(folder, 'state.json'), '{"step":12,"files":{}}');
  writeFileSync(path.join(run, 'checkpoints', 'latest'), 'step-00000012\n');
  const config = { version: '0.0.0', images: '/photos', imageCount: 40, fingerprint: 'f', settings: TINY };
  writeFileSync(path.join(run, 'config.json'), JSON.stringify(config));
  writeFileSync(
    path.join(run, 'metrics.jsonl'),
    '{"step":10,"loss":2.5,"teacherEntropy":2.25}\n{"step":12,"epoch":0,"top1":{"10":50}}\n{"step":1',
  );
  return network;
}

/** Writes hash-filled weights like an official backbone's file: with the reference's names, nothing else. */
export function writeOfficialWeights(file: string, arch: 'vit_tiny' | 'resnet18'): void {
  mkdirSync(path.dirname(file), { recursive: true });
  const config = arch === 'vit_tiny' ? { arch, patchSize: 16, imgSize: 64 } : { arch };
  const backbone = hashFill(buildBackbone(config), 0.1);
  writePth(file, backbone.stateDict());
  backbone.dispose();
}

/**
 * Writes a transformer's weights in which one activation of each block is so large that 8 bits leave nothing of the
 * others; it changes no output, since the next layer's weights of it are 0.
 */
export function writeMassive(file: string): void {
  mkdirSync(path.dirname(file), { recursive: true });
  const backbone = hashFill(buildBackbone({ arch: 'vit_tiny', patchSize: 16, imgSize: 32 }), 0.1);
  noGrad(() => {
    for (const [name, tensor] of backbone.stateDict()) {
      if (name.endsWith('mlp.fc1.bias')) tensor.narrow(0, 0, 1).fill_(300);
      if (name.endsWith('mlp.fc2.weight')) tensor.narrow(1, 0, 1).fill_(0);
    }
  });
  writePth(file, backbone.stateDict());
  backbone.dispose();
}

/** Class folders of plain images: the class determines the colour, the number its brightness. */
export async function writeColourFolders(root: string, perClass: number, size = 40): Promise<void> {
  const colours = { blue: [0, 0, 1], green: [0, 1, 0], red: [1, 0, 0] } as const;
  for (const [name, [r, g, b]] of Object.entries(colours)) {
    mkdirSync(path.join(root, name), { recursive: true });
    for (let i = 0; i < perClass; i++) {
      const level = 120 + (100 * i) / perClass;
      const background = { r: r * level, g: g * level, b: b * level };
      await sharp({ create: { width: size + i, height: size, channels: 3, background } })
        .png()
        .toFile(path.join(root, name, `${name} ${i}.png`));
    }
  }
}
