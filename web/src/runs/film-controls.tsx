/** The scrubber under the film, and how it plays. */
import { useId } from 'preact/hooks';
import { type Player, type Speed, SPEEDS } from './player.ts';

export interface FilmControlsProps {
  player: Player;
  count: number;
  /** What the scrubber stands at, in words. */
  text: string;
  /** How much of a file has been made; null when none is. */
  saving: { done: number; total: number } | null;
  onSave: () => void;
}

export function FilmControls({ player, count, text, saving, onSave }: FilmControlsProps) {
  const id = useId();
  const { at, isPlaying, toggle, show, speed, setSpeed, isLooping, setLooping } = player;
  return (
    <div class="film-controls">
      <div class="scrubber">
        <button type="button" class="main play" onClick={toggle} disabled={count < 2}>
          {isPlaying ? 'Pause' : 'Play'}
        </button>
        <label class="hidden" for={id}>
          Checkpoint
        </label>
        <input
          id={id}
          type="range"
          min={0}
          max={Math.max(0, count - 1)}
          step={1}
          value={at}
          aria-valuetext={text}
          onInput={(event) => show(event.currentTarget.valueAsNumber)}
        />
        <output for={id}>{text}</output>
      </div>
      <div class="row">
        <label>
          Speed{' '}
          <select value={speed} onInput={(event) => setSpeed(event.currentTarget.value as Speed)}>
            {(Object.keys(SPEEDS) as Speed[]).map((one) => (
              <option key={one} value={one}>
                {one}
              </option>
            ))}
          </select>
        </label>
        <label>
          <input
            type="checkbox"
            checked={isLooping}
            onChange={(event) => setLooping(event.currentTarget.checked)}
          />{' '}
          Loop
        </label>
        <button type="button" onClick={onSave} disabled={saving !== null || count === 0}>
          {saving === null ? 'Save as GIF' : `Saving ${saving.done} of ${saving.total}…`}
        </button>
      </div>
    </div>
  );
}
