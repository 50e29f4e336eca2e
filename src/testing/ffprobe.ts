/**
 * The ffprobe that tests use: a package of this repository's, which users don't have; null where it has none for this
 * machine.
 */
export async function testFfprobe(): Promise<string | null> {
  try {
    const name = '@ffprobe-installer/ffprobe';
    const { default: found } = (await import(name)) as { default: { path: string } };
    return found.path;
  } catch {
    return null;
  }
}
