/** The studio: a page that shows runs and models. */
export { isLoopback } from './security.js';
export { startStudio, type RunningStudio, type StudioOptions } from './server.js';
