/**
 * Escapes foreign text (names of files and hosts, strings of a config.json, what a parser quotes) in our messages. A
 * terminal treats control characters as commands, and a line break lets foreign text pose as a message of ours.
 *
 *   printable()     for foreign text inside a message: it stays on its line
 *   messageText()   for a whole message to a terminal or a log: its own line breaks and tabs are kept
 *   terminalText()  for results
 */

// C0, DEL, C1; line and paragraph separators; characters that change the direction of writing
const UNPRINTABLE = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;
const COMMANDS = /[^\P{Cc}\n\t]|[\u202a-\u202e\u2066-\u2069]/gu;

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function escaped(character: string): string {
  return SHORT[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** Foreign text on one line, with control characters as JavaScript escapes: `\n`, `\u001b`. */
export const printable = (text: string): string => text.replace(UNPRINTABLE, escaped);

/** A whole text of ours: control characters other than line breaks and tabs are escaped as in printable(). */
export const terminalText = (text: string): string => text.replace(COMMANDS, escaped);

/** The same, with every line after the first indented, so that none looks like a separate message. */
export const messageText = (text: string): string => terminalText(text).replace(/\n(?=\S)/g, '\n  ');

/** An error with its stack, for a log. */
export const stackText = (error: unknown): string =>
  messageText(error instanceof Error ? (error.stack ?? error.message) : String(error));

/** An error's message, which may quote names and contents of files. */
export const messageOf = (error: unknown): string =>
  printable(error instanceof Error ? error.message : String(error));

/** The problems that zod found, a line each; names and values in them come from a file. */
export function issueLines(error: {
  issues: readonly { path: readonly PropertyKey[]; message: string }[];
}): string {
  return error.issues
    .map(({ path, message }) => {
      const place = path.map(String).join('.');
      return `  ${printable(place === '' ? message : `${place}: ${message}`)}`;
    })
    .join('\n');
}
