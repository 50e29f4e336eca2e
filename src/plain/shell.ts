/** Commands in messages, as a person copies them into a shell: whatever a folder is called, they do what they say. */

/** A word as sh, bash and zsh read it back. */
export const shellWord = (word: string): string =>
  /^(?!=)[\w./:=,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/** A path as an argument: one that begins with a dash would be taken for a flag. */
export const shellPath = (path: string): string => shellWord(path.startsWith('-') ? `./${path}` : path);
