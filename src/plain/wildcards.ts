/** Patterns of file names as in a shell: `*` stands for any characters, `?` for one. */

export const hasWildcards = (pattern: string): boolean => /[*?]/.test(pattern);

/** Matches the whole names that a pattern stands for. */
export function wildcardExpression(pattern: string): RegExp {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 's');
}
