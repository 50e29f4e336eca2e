/** What a run is made of: settings, data, checkpoints, evaluations, skipped images. */
import { shellPath } from '../../../src/shell.ts';
import type { RunDetails } from '../api.ts';
import { bytes, count, setting, short, when } from './format.ts';
import { SettingsTable } from './settings-table.tsx';

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
      <summary>Data: {count(config.imageCount)} images</summary>
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

function Checkpoints({ details }: { details: RunDetails }) {
  const { checkpoints } = details;
  return (
    <details>
      <summary>Checkpoints: {count(checkpoints.length)}</summary>
      {checkpoints.length === 0 ? (
        <p class="note">None is written yet.</p>
      ) : (
        <div class="scroll" tabIndex={0}>
          <table>
            <thead>
              <tr>
                <th scope="col">Step</th>
                <th scope="col">Written</th>
                <th scope="col">Size</th>
                <th scope="col">Folder</th>
              </tr>
            </thead>
            <tbody>
              {checkpoints.map((one) => (
                <tr key={one.path}>
                  <td>
                    {count(one.step)}
                    {one.isNewest && ' (newest)'}
                  </td>
                  <td>{when(one.written)}</td>
                  <td>{bytes(one.bytes)}</td>
                  <td>
                    <code>{one.path}</code>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
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

function Evaluations({ details }: { details: RunDetails }) {
  const { evaluations } = details;
  return (
    <details>
      <summary>Evaluations: {count(evaluations.length)}</summary>
      {evaluations.length === 0 && (
        <p class="note">
          None is kept yet: <code>dino eval knn {shellPath(details.summary.path)} --train A --val B</code>
        </p>
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
    </details>
  );
}

function Skipped({ details }: { details: RunDetails }) {
  const { skipped } = details;
  return (
    <details>
      <summary>Skipped images: {count(skipped.count)}</summary>
      {skipped.count === 0 ? (
        <p class="note">Every image could be read so far.</p>
      ) : (
        <div class="scroll" tabIndex={0}>
          <table>
            <thead>
              <tr>
                <th scope="col">Image</th>
                <th scope="col">Reason</th>
              </tr>
            </thead>
            <tbody>
              {skipped.first.map(({ path, reason }) => (
                <tr key={path}>
                  <td>{path}</td>
                  <td>{reason}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {skipped.count > skipped.first.length && (
            <p class="note">
              The first {count(skipped.first.length)}; skipped.jsonl in the run’s folder lists all.
            </p>
          )}
        </div>
      )}
    </details>
  );
}

export function DetailsCard({ details }: { details: RunDetails }) {
  return (
    <section class="card details" aria-labelledby="folder">
      <h2 id="folder">In its folder</h2>
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
