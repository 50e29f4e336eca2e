/** The routes of all sections. */
import { common } from './common.js';
import { film } from './film.js';
import { look } from './look.js';
import { find } from './find.js';
import type { Routes } from './route.js';
import { runs } from './runs.js';
import { start } from './start.js';

export const allRoutes: readonly Routes[] = [common, runs, start, film, look, find];
