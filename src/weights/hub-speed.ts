/** How fast the official networks are on one small machine, measured by `node bench/hub.mjs`, which writes this file's end. */

export interface HubSpeed {
  machine: string;
  /** Of the last measurement. */
  date: string;
  /** By networkOf(): images of 224 pixels, in memory, float32. A network that did not fit is missing. */
  imagesPerSecond: Readonly<Record<string, number>>;
}

/** What a network is measured as: registers, and what it was trained on, hardly change its speed. */
export const networkOf = ({ arch, patchSize = null }: { arch: string; patchSize?: number | null }): string =>
  arch.startsWith('vit_') ? `${arch}/${patchSize}` : arch.replace(/_(?:reg|sat493m)$/, '');

/** Images a second, or null for a network that was not measured. */
export const imagesPerSecond = (model: { arch: string; patchSize?: number | null }): number | null =>
  hubSpeed.imagesPerSecond[networkOf(model)] ?? null;

export const hubSpeed: HubSpeed = {
  machine: '2 cores of AMD EPYC',
  date: '2026-11-29',
  imagesPerSecond: {
    'vit_small/16': 24,
    'vit_small/8': 5.4,
    'vit_base/16': 6.5,
    'vit_base/8': 1.5,
    resnet50: 27,
    xcit_small_12_p16: 14,
    xcit_small_12_p8: 3.9,
    xcit_medium_24_p16: 4.8,
    xcit_medium_24_p8: 1.2,
    dinov2_vits14: 17,
    dinov2_vitb14: 4.8,
    dinov2_vitl14: 1.3,
    dinov2_vitg14: 0.34,
    dinov3_vits16: 18,
    dinov3_vits16plus: 14,
    dinov3_vitb16: 5.4,
    dinov3_vitl16: 1.5,
    dinov3_vith16plus: 0.59,
    dinov3_convnext_tiny: 20,
    dinov3_convnext_small: 11,
    dinov3_convnext_base: 6.3,
    dinov3_convnext_large: 2.9,
  },
};
