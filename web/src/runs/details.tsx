/** What a run is made of: settings, data, checkpoints, evaluations, skipped images. */
import type { ComponentChildren } from 'preact';
import { shellPath } from '../../../src/plain/shell.ts';
import type { RunDetails } from '../api.ts';
import { bytes, count, counted, setting, short, when } from '../ui/format.ts';
import { SettingsTable } from '../ui/settings-table.tsx';
import { ModelActions } from '../ui/model-actions.tsx';
import { Table } from '../ui/table.tsx';

function Settings({ details }: { details: RunDetails }) {
  const { config } = details;
  if (config === null) return null;
  return (
    <details>
      <summary>Settings</summary>
      <SettingsTable settings={Object.entries(config.settings)} />
    </details>
  );
}

function Data({ details }: { details: RunDetails }) {
  const { config } = details;
  if (config === null) return null;
  return (
    <details>
      <summary>Data: {counted(config.imageCount, 'image')}</summary>
      <dl>
        <dt>Folder</dt>
        <dd>{config.images}</dd>
        <dt>Fingerprint</dt>
        <dd>
          <code>{config.fingerprint}</code>
        </dd>
        <dt>Made by</dt>
        <dd>dino-ts {config.version}</dd>
      </dl>
    </details>
  );
}

interface PartProps {
  title: string;
  /** How many there are. */
  size: number;
  /** The text when there is none. */
  none: ComponentChildren;
  children: ComponentChildren;
}

/** A part that is closed until it is opened by hand. */
function Part({ title, size, none, children }: PartProps) {
  return (
    <details>
      <summary>
        {title}: {count(size)}
      </summary>
      {size === 0 ? <p class="note">{none}</p> : children}
    </details>
  );
}

function Checkpoints({ details }: { details: RunDetails }) {
  const { checkpoints } = details;
  return (
    <Part title="Checkpoints" size={checkpoints.length} none="None has been written yet.">
      <Table head={['Step', 'Written', 'Size', 'Use it', 'Folder']}>
        {checkpoints.map((one) => (
          <tr key={one.path}>
            <td>
              {count(one.step)}
              {one.isNewest && ' (newest)'}
              {one.isBest && ' (best weights)'}
            </td>
            <td>{when(one.written)}</td>
            <td>{bytes(one.bytes)}</td>
            <td>
              <span class="row">
                <ModelActions model={one} name={`step ${count(one.step)}`} />
              </span>
            </td>
            <td>
              <code>{one.path}</code>
            </td>
          </tr>
        ))}
      </Table>
    </Part>
  );
}

/** An object's numbers and words, one line each; what is nested gets its path. */
function flatten(value: Record<string, unknown>, prefix = ''): [string, string][] {
  return Object.entries(value).flatMap(([name, one]): [string, string][] => {
    const key = prefix === '' ? name : `${prefix}, ${name}`;
    if (typeof one === 'number') return [[key, short(one)]];
    if (typeof one === 'object' && one !== null && !Array.isArray(one))
      return flatten(one as Record<string, unknown>, key);
    return [[key, Array.isArray(one) && one.length > 12 ? `${one.length} values` : setting(one)]];
  });
}

/** Evaluations that were measured while it trained, each a line, and those that were made afterwards. */
function Evaluations({ details }: { details: RunDetails }) {
  const { evaluations, scores, summary } = details;
  const none = (
    <>
      None yet. To make one: <code>dino eval knn {shellPath(summary.path)} --train A --val B</code>
    </>
  );
  return (
    <Part title="Evaluations" size={evaluations.length + scores.length} none={none}>
      {scores.length > 0 && (
        <Table head={['After step', 'Measured during training']}>
          {scores.map(({ step, values }, i) => (
            <tr key={i}>
              <td>{count(step)}</td>
              <td>
                {flatten(values)
                  .filter(([key]) => key !== 'step' && key !== 'epoch')
                  .map(([key, value]) => `${key} ${value}`)
                  .join('; ')}
              </td>
            </tr>
          ))}
        </Table>
      )}
      {evaluations.map(({ name, content, problem }) => (
        <div key={name} class="scroll" tabIndex={0}>
          <h3>{name}</h3>
          {problem !== null && <p class="failure">{problem}</p>}
          {content !== null && (
            <table>
              <tbody>
                {flatten(content).map(([key, value]) => (
                  <tr key={key}>
                    <th scope="row">{key}</th>
                    <td>{value}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </div>
      ))}
    </Part>
  );
}

function Skipped({ details }: { details: RunDetails }) {
  const { skipped } = details;
  return (
    <Part title="Skipped images" size={skipped.count} none="No image has been skipped so far.">
      <Table head={['Image', 'Reason']}>
        {skipped.first.map(({ path, reason }) => (
          <tr key={path}>
            <td>{path}</td>
            <td>{reason}</td>
          </tr>
        ))}
      </Table>
      {skipped.count > skipped.first.length && (
        <p class="note">
          These are the first {count(skipped.first.length)}; skipped.jsonl in the run’s folder lists them all.
        </p>
      )}
    </Part>
  );
}

export function DetailsCard({ details }: { details: RunDetails }) {
  return (
    <section class="card details" aria-labelledby="folder">
      <h2 id="folder">In the run’s folder</h2>
      <p class="note">
        <code>{details.summary.path}</code>
      </p>
      <Settings details={details} />
      <Data details={details} />
      <Checkpoints details={details} />
      <Evaluations details={details} />
      <Skipped details={details} />
    </section>
  );
}
