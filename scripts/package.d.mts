/** A tarball that was made. */
export interface Packed {
  file: string;
  bytes: number;
  unpacked: number;
  files: number;
}

export const PLATFORMS: Record<string, { os: string[]; cpu: string[]; libc?: string[] }>;
/** The files that `npm pack` would take from the checkout. */
export function packedFiles(): string[];
export function publishedManifest(manifest: Record<string, unknown>): Record<string, unknown>;
export function packMain(output: string): Packed;
/** @param maxGlibc fails when the addons need a newer one. */
export function packPlatform(output: string, maxGlibc?: string): Packed & { needs: Record<string, string> };
