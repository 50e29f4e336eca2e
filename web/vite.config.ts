/** Builds the studio's page into dist/web; run by scripts/setup.mjs (step `web`). */
import { defineConfig } from 'vite';

export default defineConfig({
  root: import.meta.dirname,
  build: {
    outDir: '../dist/web',
    emptyOutDir: true,
    target: 'es2022',
    sourcemap: false,
    // the server's content-security policy only lets the page load files, not data: fonts or scripts
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // deck.gl is large, and loaded when a map is opened
    chunkSizeWarningLimit: 600,
  },
});
