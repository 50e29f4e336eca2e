/** Builds the page of `dino export --format web` into dist/share; run by scripts/setup.mjs (step `web`). */
import { defineConfig } from 'vite';

export default defineConfig({
  root: import.meta.dirname,
  // works on any static server, below any path
  base: './',
  publicDir: false,
  worker: { format: 'es' },
  build: {
    outDir: '../../dist/share',
    emptyOutDir: true,
    target: 'es2022',
    sourcemap: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // onnxruntime is large, and loaded when it is needed
    chunkSizeWarningLimit: 1000,
  },
});
