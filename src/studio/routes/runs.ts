/** The section Runs. */
import { type Routes, route } from './route.js';

export const runs: Routes = (app, studio) => {
  route(app, 'GET /api/runs', {}, () => studio.runs.refresh());
};
