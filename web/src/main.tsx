/** The studio's page. */
import { render } from 'preact';
import './styles.css';
import { App } from './app.tsx';
import { listen } from './live.ts';

listen();
render(<App />, document.getElementById('app')!);
