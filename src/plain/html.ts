/** Text in pages that are made as strings. */

const ENTITIES: Readonly<Record<string, string>> = {
  ...{ '&': '&amp;', '<': '&lt;', '>': '&gt;' },
  ...{ '"': '&quot;', "'": '&#39;' },
};

export const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => ENTITIES[character]!);

/** A page of ours says so within its first kilobyte. */
const GENERATOR = '<meta name="generator" content="dino-ts">';
export const isOwnPage = (start: string): boolean => start.includes(GENERATOR);

/**
 * The beginning of a page that is one file: up to and with `<body>`. It may load nothing and run no scripts; images are data.
 * @param title - Already HTML, as is `style`.
 */
export const pageHead = (title: string, style: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
${GENERATOR}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${title}</title>
<style>${style}</style>
</head>
<body>
`;
