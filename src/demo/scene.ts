/**
 * Draws one scene of the demo: an object anywhere, at any size, before a ground and a sky, among other things that are out of
 * focus, sometimes partly hidden, in any light; with the mask of the pixels that show it. What makes comparing pixels hard is
 * what makes it hard in photographs, and nothing is drawn in order to mislead it.
 */
import { type BackgroundPlan, drawBackground, planBackground } from './background.js';
import { type Canvas, drawSprite, type Placement, rotatedBox } from './canvas.js';
import type { Sprite } from './objects.js';
import { between, gaussian, pickOne, type Random } from './random.js';

/** The drawings of a scene's kind, and the others'. */
export interface Cast {
  readonly drawings: readonly Sprite[];
  readonly stands: boolean;
  /** Largest rotation of the hue in either direction, degrees. */
  readonly hues: number;
  readonly clutter: readonly Sprite[];
  /** Those that may stand in front of the object. */
  readonly foreground: readonly Sprite[];
}

export interface PlacedSprite extends Placement {
  sprite: Sprite;
}

/** The light falls on everything in the scene. */
export interface Light {
  /** Brightness of the whole. */
  gain: number;
  /** Exponent: above 1 makes shadows deeper. */
  gamma: number;
  /** -1 blue to 1 yellow. */
  warmth: number;
  /** Where it comes from, radians, and how much stronger that side is than the middle. */
  angle: number;
  slope: number;
  /** Standard deviation of the sensor's noise. */
  noise: number;
}

export interface ScenePlan {
  object: PlacedSprite;
  stands: boolean;
  background: BackgroundPlan;
  /** Farthest first. */
  clutter: PlacedSprite[];
  /** In front of the object. */
  cover: PlacedSprite | null;
  light: Light;
}

/** The object's longer side, as a fraction of the scene's. */
export const SCALES = [0.35, 0.7] as const;
const TILT = 30;
/** The frame cuts off no more than this of the object, at each side. */
const CUT = 0.25;
/** The least width of an object that is turned away from the viewer, of its full width. */
const SQUEEZE = 0.7;
/** Chance that something stands in front of the object. */
const COVERED = 0.4;

const DEGREES = Math.PI / 180;

export function planScene(cast: Cast, random: Random): ScenePlan {
  const sprite = pickOne(random, cast.drawings);
  const pose = {
    scale: between(random, ...SCALES),
    angle: between(random, -TILT, TILT) * DEGREES,
    flip: random() < 0.5,
    squeeze: between(random, SQUEEZE, 1),
    hue: between(random, -cast.hues, cast.hues) * DEGREES,
  };
  const [width, height] = rotatedBox(sprite, pose);
  const x = between(random, ...centreRange(width));
  const y = between(random, ...centreRange(height));
  const bottom = y + height / 2;
  const object = { ...pose, sprite, x, y, blur: 0 };
  const background = planBackground(random, cast.stands ? bottom - 0.08 : 0.85);
  return {
    object,
    stands: cast.stands,
    background,
    clutter: planClutter(cast, random, background),
    cover: random() < COVERED ? planCover(cast, random, object, width, height) : null,
    light: {
      gain: between(random, 0.65, 1.1),
      gamma: between(random, 0.85, 1.3),
      warmth: between(random, -1, 1),
      angle: between(random, 0, 2 * Math.PI),
      slope: between(random, 0, 0.35),
      noise: between(random, 0.005, 0.02),
    },
  };
}

/** Where the centre of something of this length may be, so that no more than CUT of it is outside the scene. */
const centreRange = (length: number): [number, number] => [
  Math.min(0.5, length * (0.5 - CUT)),
  Math.max(0.5, 1 - length * (0.5 - CUT)),
];

/** Three to seven things behind the object, the smaller ones farther away. */
function planClutter(cast: Cast, random: Random, { horizon }: BackgroundPlan): PlacedSprite[] {
  const count = 3 + Math.floor(5 * random());
  const things = Array.from({ length: count }, (): PlacedSprite => {
    const scale = between(random, 0.12, 0.4);
    const hasHorizon = horizon > 0 && horizon < 1;
    return {
      sprite: pickOne(random, cast.clutter),
      scale,
      angle: between(random, -15, 15) * DEGREES,
      flip: random() < 0.5,
      squeeze: 1,
      hue: between(random, -35, 35) * DEGREES,
      x: random(),
      y: hasHorizon ? horizon - 0.3 * scale + 0.5 * scale * random() : random(),
      blur: between(random, 0.5, 2.2),
    };
  });
  return things.sort((a, b) => a.scale - b.scale);
}

/** Something that hides a part of the object, at one of its lower corners. */
function planCover(
  cast: Cast,
  random: Random,
  { x, y, scale }: PlacedSprite,
  width: number,
  height: number,
): PlacedSprite {
  return {
    sprite: pickOne(random, cast.foreground),
    scale: scale * between(random, 0.3, 0.55),
    angle: between(random, -20, 20) * DEGREES,
    flip: random() < 0.5,
    squeeze: 1,
    hue: between(random, -30, 30) * DEGREES,
    x: x + between(random, -0.5, 0.5) * width,
    y: y + between(random, 0.15, 0.5) * height,
    blur: between(random, 0, 1.2),
  };
}

export interface Scene {
  /** (size, size, 3) uint8. */
  rgb: Uint8Array;
  /** (size, size) uint8: 255 where the object covers at least half of the pixel and nothing hides it, else 0. */
  mask: Uint8Array;
}

/** Draws a scene of `size` x `size` pixels; `random` is used for the sensor's noise. */
export function drawScene(plan: ScenePlan, size: number, random: Random): Scene {
  const canvas: Canvas = { size, rgb: new Float32Array(3 * size * size) };
  const covered = new Float32Array(size * size); // (size, size), 0 to 1
  drawBackground(canvas, plan.background);
  for (const thing of plan.clutter) drawSprite(canvas, thing.sprite, thing);
  if (plan.stands) drawShadow(canvas, plan.object);
  drawSprite(canvas, plan.object.sprite, plan.object, (pixel, alpha) => {
    covered[pixel] = alpha;
  });
  if (plan.cover !== null) {
    drawSprite(canvas, plan.cover.sprite, plan.cover, (pixel, alpha) => {
      covered[pixel]! *= 1 - alpha;
    });
  }
  return {
    rgb: expose(canvas, plan.light, random),
    mask: Uint8Array.from(covered, (a) => (a >= 0.5 ? 255 : 0)),
  };
}

/** A soft, flat ellipse at the object's feet. */
function drawShadow({ size, rgb }: Canvas, object: PlacedSprite): void {
  const [width, height] = rotatedBox(object.sprite, object);
  const [centreX, centreY] = [object.x * size, (object.y + 0.46 * height) * size];
  const [radiusX, radiusY] = [0.6 * width * size, 0.16 * height * size];
  for (let y = Math.max(0, Math.floor(centreY - radiusY)); y < Math.min(size, centreY + radiusY); y++) {
    for (let x = Math.max(0, Math.floor(centreX - radiusX)); x < Math.min(size, centreX + radiusX); x++) {
      const distance = Math.hypot((x + 0.5 - centreX) / radiusX, (y + 0.5 - centreY) / radiusY);
      const shade = 1 - 0.55 * Math.max(0, 1 - distance);
      for (let c = 0; c < 3; c++) rgb[3 * (y * size + x) + c]! *= shade;
    }
  }
}

/** Steps of the table of gammas. */
const STEPS = 1024;

/** Light and sensor: floating point to 8 bits. */
function expose({ size, rgb }: Canvas, light: Light, random: Random): Uint8Array {
  const { gain, gamma, warmth, angle, slope, noise } = light;
  const curve = Float32Array.from({ length: STEPS + 1 }, (_, i) => 255 * gain * (i / STEPS) ** gamma);
  const [red, blue] = [1 + 0.1 * warmth, 1 - 0.14 * warmth];
  const [alongX, alongY] = [(2 * slope * Math.cos(angle)) / size, (2 * slope * Math.sin(angle)) / size];
  const out = new Uint8ClampedArray(3 * size * size); // (size, size, 3); rounds and clips
  for (let y = 0, at = 0; y < size; y++) {
    for (let x = 0; x < size; x++, at += 3) {
      const slant = 1 + alongX * (x + 0.5 - size / 2) + alongY * (y + 0.5 - size / 2);
      const grain = 255 * noise * gaussian(random);
      const lit = (value: number): number =>
        slant * curve[Math.round(STEPS * Math.min(1, Math.max(0, value)))]!;
      out[at] = red * lit(rgb[at]!) + grain;
      out[at + 1] = lit(rgb[at + 1]!) + grain;
      out[at + 2] = blue * lit(rgb[at + 2]!) + grain;
    }
  }
  return new Uint8Array(out.buffer);
}
