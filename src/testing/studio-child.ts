/** A studio in a separate process, so that a test can see what it opens: `node studio-child.js FOLDER...`; ends when stdin does. */
import { startStudio } from '../studio/index.js';

const studio = await startStudio({ folders: process.argv.slice(2), port: 0 });
console.log(JSON.stringify({ origin: studio.origin, token: studio.token }));
process.stdin.resume().on('end', () => void studio.close().then(() => process.exit(0)));
