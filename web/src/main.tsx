/** The studio's page. */
import { render } from 'preact';
import './styles.css';
import { App } from './app.tsx';
import { listen } from './live.ts';
import { keepPage } from './ui/keep-page.ts';

keepPage();
listen();
render(<App />, document.getElementById('app')!);
