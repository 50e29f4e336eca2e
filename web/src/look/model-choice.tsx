import type { ComponentChildren } from 'preact';
import type { LookModel } from '../api.ts';
import { count } from '../ui/format.ts';
import { modelOf } from '../ui/models.ts';

/** Chooses a model, one of its networks, and its number of attention heads. */
export interface Choice {
  weights: string;
  checkpointKey: string;
  /** For a file that doesn't say how many it has; otherwise null. */
  numHeads: number | null;
}

export function ModelChoice(props: {
  models: readonly LookModel[];
  choice: Choice;
  onChange: (choice: Choice) => void;
  /** What follows in the row. */
  children: ComponentChildren;
}) {
  const { models, choice, onChange, children } = props;
  const model = modelOf(models, choice.weights);
  return (
    <div class="row">
      <label>
        Model{' '}
        <select
          value={model?.path ?? ''}
          onChange={(event) => onChange({ ...choice, weights: event.currentTarget.value })}
        >
          {model === undefined && <option value="">{choice.weights || 'choose one'}</option>}
          {(['run', 'file'] as const).map((kind) => {
            const some = models.filter((one) => one.kind === kind);
            return some.length === 0 ? null : (
              <optgroup key={kind} label={kind === 'run' ? 'Runs' : 'Weights files'}>
                {some.map((one) => (
                  <option key={one.path} value={one.path}>
                    {one.name}
                  </option>
                ))}
              </optgroup>
            );
          })}
        </select>
      </label>
      {model !== undefined && model.checkpoints.length > 0 && (
        <label>
          Checkpoint{' '}
          <select
            value={choice.weights}
            onChange={(event) => onChange({ ...choice, weights: event.currentTarget.value })}
          >
            <option value={model.path}>newest</option>
            {model.checkpoints.map(({ step, path }) => (
              <option key={path} value={path}>
                step {count(step)}
              </option>
            ))}
          </select>
        </label>
      )}
      <label>
        Network{' '}
        <select
          value={choice.checkpointKey}
          onChange={(event) => onChange({ ...choice, checkpointKey: event.currentTarget.value })}
        >
          <option value="teacher">teacher</option>
          <option value="student">student</option>
        </select>
      </label>
      {model?.kind === 'file' && (
        <label>
          Attention heads{' '}
          <input
            type="number"
            min="1"
            step="1"
            placeholder="as the file says"
            value={choice.numHeads ?? ''}
            onChange={(event) => {
              const heads = Number(event.currentTarget.value);
              onChange({ ...choice, numHeads: Number.isInteger(heads) && heads > 0 ? heads : null });
            }}
          />
        </label>
      )}
      {children}
    </div>
  );
}
