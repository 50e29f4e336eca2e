/** A file that is dropped beside a box would replace the page: it is left alone. */
export function keepPage(): void {
  for (const name of ['dragover', 'drop']) addEventListener(name, (event) => event.preventDefault());
}
