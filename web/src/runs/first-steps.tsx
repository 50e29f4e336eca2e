/** What a newcomer may do first. */
import { shellPath } from '../../../src/plain/shell.ts';
import { href } from '../router.ts';
import { Command } from '../ui/command.tsx';
import { useRequest } from '../use-request.ts';

export function FirstSteps() {
  const { answer: studio } = useRequest('GET /api/studio', {});
  const folder = studio?.folders[0];
  return (
    <>
      <section class="card">
        <h1>Runs</h1>
        <p>
          There are no runs in this studio’s folders yet. A run appears here as soon as its folder exists. To
          begin:
        </p>
      </section>
      <div class="cards">
        <section class="card" aria-labelledby="first-demo">
          <h2 id="first-demo">Run the demo</h2>
          <p>
            Makes pictures of twenty kinds of things, trains on them without labels, and shows what was
            learned. It takes a few minutes and needs nothing else.
          </p>
          <Command>{`dino demo --output ${shellPath(folder === undefined ? 'demo' : `${folder}/demo`)}`}</Command>
        </section>
        <section class="card" aria-labelledby="first-train">
          <h2 id="first-train">Train on a folder</h2>
          <p>
            Choose a folder of images of your own. No labels are needed, and the settings are chosen for you.
          </p>
          <a class="button main" href={href('start')}>
            Choose images
          </a>
        </section>
        <section class="card" aria-labelledby="first-model">
          <h2 id="first-model">Open a model</h2>
          <p>See what a trained model attends to in a picture: a run, or a file of weights that you have.</p>
          <a class="button main" href={href('look')}>
            Look at a picture
          </a>
        </section>
      </div>
    </>
  );
}
