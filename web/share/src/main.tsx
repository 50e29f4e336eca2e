/** The page of `dino export --format web`: reads model.json in its own folder. */
import { render } from 'preact';
import '../../src/styles.css';
import './share.css';
import { App } from './app.tsx';

render(<App />, document.getElementById('app')!);
