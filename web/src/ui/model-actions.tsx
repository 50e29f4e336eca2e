/**
 * What can be done with a model, wherever one is shown: look at images with it, index images to search them by it, take it
 * elsewhere. A model is a run, one of its checkpoints, or a file of weights.
 */
import { useState } from 'preact/hooks';
import { shellPath } from '../../../src/plain/shell.ts';
import { href } from '../router.ts';
import { Command } from './command.tsx';
import { Dialog } from './dialog.tsx';
import './model-actions.css';

/** Which model. */
export interface GivenModel {
  /** Of the run, the checkpoint or the file. */
  path: string;
  /** Attention heads, for a file that doesn't say how many it has. */
  heads?: number | null;
  /** Which of its networks; default the teacher. */
  network?: string;
}

const address = (section: string, query: Readonly<Record<string, string>>): string =>
  `${href(section)}?${new URLSearchParams(query).toString()}`;

const headsOf = ({ heads }: GivenModel): Record<string, string> =>
  heads === undefined || heads === null ? {} : { heads: String(heads) };

/** Looks at images with a model. @param image - The path of the image to begin with. */
export const lookWith = (model: GivenModel, image?: string): string =>
  address('look', {
    weights: model.path,
    ...(image === undefined ? {} : { image }),
    ...headsOf(model),
  });

/** Makes an index of images by a model. */
export const indexWith = (model: GivenModel): string =>
  address('find', { new: '1', weights: model.path, ...headsOf(model) });

/** The commands that take a model elsewhere. */
function commandsOf({
  path,
  heads,
  network,
}: GivenModel): readonly (readonly [what: string, command: string])[] {
  const which =
    (network === undefined || network === 'teacher' ? '' : ` --checkpoint-key ${shellPath(network)}`) +
    (heads === undefined || heads === null ? '' : ` --num-heads ${heads}`);
  return [
    [
      'A web page that shows the model to others, without a server',
      `dino export ${shellPath(path)}${which} --format web --output page`,
    ],
    ['ONNX, for other programs', `dino export ${shellPath(path)}${which} --format onnx --output model.onnx`],
    [
      'Features of a folder of images',
      `dino embed ${shellPath(path)} IMAGES${which} --output features.safetensors`,
    ],
  ];
}

function ExportDialog({ model, onClose }: { model: GivenModel; onClose: () => void }) {
  return (
    <Dialog label="Export this model" onClose={onClose}>
      <h2>Export this model</h2>
      <ul class="export-commands">
        {commandsOf(model).map(([what, command]) => (
          <li key={what}>
            <p>{what}</p>
            <Command>{command}</Command>
          </li>
        ))}
      </ul>
      <button type="button" onClick={onClose}>
        Close
      </button>
    </Dialog>
  );
}

export interface ModelActionsProps {
  model: GivenModel;
  /** What its page does already. */
  without?: 'look' | 'index';
  /** Its name, where several models are listed: screen readers are told which one a button is about. */
  name?: string;
}

/** Look, Index, Export. */
export function ModelActions({ model, without, name }: ModelActionsProps) {
  const [isOpen, setOpen] = useState(false);
  const isQuiet = name !== undefined;
  const named = (words: string) => (name === undefined ? {} : { 'aria-label': `${words} ${name}` });
  return (
    <>
      {without !== 'look' && (
        <a
          class={isQuiet ? 'button quiet' : 'button'}
          href={lookWith(model)}
          title="See what this model attends to in an image"
          {...named('Look with')}
        >
          Look
        </a>
      )}
      {without !== 'index' && (
        <a
          class={isQuiet ? 'button quiet' : 'button'}
          href={indexWith(model)}
          title="Search a folder of images with this model"
          {...named('Index with')}
        >
          Index
        </a>
      )}
      <button
        type="button"
        class={isQuiet ? 'quiet' : undefined}
        title="A page for others, or a file for other programs"
        onClick={() => setOpen(true)}
        {...named('Export')}
      >
        Export
      </button>
      {isOpen && <ExportDialog model={model} onClose={() => setOpen(false)} />}
    </>
  );
}
