/**
 * Chromium on a system in the locale C names its language `en-US@posix`, which is not a language tag; uPlot hands it to Intl
 * as soon as it is imported, which throws. Import this before uPlot.
 */
try {
  Intl.getCanonicalLocales(navigator.language);
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en-US' });
}
