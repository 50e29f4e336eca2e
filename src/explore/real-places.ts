/** Where images really are: names that lead to one file by symbolic links are one image. Hard links stay two. */
import { lstatSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { splitShardPath } from '../data/read/shard-path.js';

export class RealPlaces {
  /** Real paths of folders and shards, of which there are far fewer than images. */
  readonly #known = new Map<string, string>();

  #real(place: string): string {
    const known = this.#known.get(place);
    if (known !== undefined) return known;
    const real = realOf(place);
    this.#known.set(place, real);
    return real;
  }

  /** The place of an image with the links of its folder, or those of its shard, followed: no look at the file itself. */
  below(file: string): string {
    const inShard = splitShardPath(file);
    if (inShard !== null) return `${this.#real(inShard.shard)}::${inShard.name}`;
    return path.join(this.#real(path.dirname(file)), path.basename(file));
  }

  /** The place of an image with all links followed; its name where it has none. */
  of(file: string): string {
    const place = this.below(file);
    return isLink(place) ? realOf(place) : place;
  }
}

function realOf(place: string): string {
  try {
    return realpathSync.native(place);
  } catch {
    return place; // missing, or a circle of links
  }
}

function isLink(place: string): boolean {
  try {
    return lstatSync(place).isSymbolicLink();
  } catch {
    return false;
  }
}
