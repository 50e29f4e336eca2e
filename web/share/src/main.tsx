/** The page of `dino export --format web`: reads model.json in its own folder. */
import { render } from 'preact';
import '../../src/styles.css';
import { keepPage } from '../../src/ui/keep-page.ts';
import './share.css';
import { App } from './app.tsx';

keepPage();
render(<App />, document.getElementById('app')!);
