/** Quotes commands in messages, so that pasting them into a shell is safe whatever a folder is called. */

/** Quotes a word for sh, bash and zsh. */
export const shellWord = (word: string): string =>
  /^(?!=)[\w./:=,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/** A path as an argument: one that begins with a dash would be taken for a flag. */
export const shellPath = (path: string): string => shellWord(path.startsWith('-') ? `./${path}` : path);
