/** The studio's page. */
import { render } from 'preact';
import './styles.css';
import { App } from './app.tsx';
import { listen } from './live.ts';

// a file that is dropped beside a box would replace the page
for (const name of ['dragover', 'drop']) addEventListener(name, (event) => event.preventDefault());
listen();
render(<App />, document.getElementById('app')!);
