/**
 * Text that somebody else wrote (names of files and hosts, strings of a config.json, what a parser quotes) in messages of
 * ours. A terminal takes control characters as commands, and a line break lets such text look like a line of ours.
 *
 *   printable()     where foreign text is put into a message: it stays on its line
 *   messageText()   where a whole message goes to a terminal or a log: its own line breaks and tabs stay
 *   terminalText()  where results go there
 */

// C0, DEL, C1; line and paragraph separators; what turns the direction of writing round
const UNPRINTABLE = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;
const COMMANDS = /[^\P{Cc}\n\t]|[\u202a-\u202e\u2066-\u2069]/gu;

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function escaped(character: string): string {
  return SHORT[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** Foreign text on one line, each control character as JavaScript writes it in a string: `\n`, `\u001b`. */
export const printable = (text: string): string => text.replace(UNPRINTABLE, escaped);

/** A whole text of ours: control characters other than line breaks and tabs as printable() writes them. */
export const terminalText = (text: string): string => text.replace(COMMANDS, escaped);

/** The same with every further line set in, so that none of them looks like a message of its own. */
export const messageText = (text: string): string => terminalText(text).replace(/\n(?=\S)/g, '\n  ');

/** An error with its stack, for a log. */
export const stackText = (error: unknown): string =>
  messageText(error instanceof Error ? (error.stack ?? error.message) : String(error));

/** An error's message, which may quote names and contents of files. */
export const messageOf = (error: unknown): string =>
  printable(error instanceof Error ? error.message : String(error));

/** The problems that zod found, a line each; names and values in them are those of a file. */
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
