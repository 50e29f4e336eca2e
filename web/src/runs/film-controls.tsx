/** The scrubber under the film, and how it plays. */
import { Slider } from '../ui/slider.tsx';
import { type Player, type Speed, SPEEDS } from './player.ts';
import type { VideoKind } from './video.ts';

/** How much of a file has been made. */
export interface Saving {
  what: 'gif' | 'video';
  done: number;
  total: number;
}

export interface FilmControlsProps {
  player: Player;
  count: number;
  /** What the scrubber stands at, in words. */
  text: string;
  /** null: no file is being made. */
  saving: Saving | null;
  /** What the browser can make beside a GIF; null: nothing. */
  video: VideoKind | null;
  onSave: (what: Saving['what']) => void;
}

export function FilmControls({ player, count, text, saving, video, onSave }: FilmControlsProps) {
  const { at, isPlaying, toggle, show, speed, setSpeed, isLooping, setLooping } = player;
  const saveButton = (what: Saving['what'], name: string) => (
    <button type="button" onClick={() => onSave(what)} disabled={saving !== null || count === 0}>
      {saving?.what === what ? `Saving ${saving.done} of ${saving.total}…` : `Save as ${name}`}
    </button>
  );
  return (
    <div class="film-controls">
      <div class="scrubber">
        <button type="button" class="main play" onClick={toggle} disabled={count < 2}>
          {isPlaying ? 'Pause' : 'Play'}
        </button>
        <Slider
          label="Checkpoint"
          isLabelHidden
          min={0}
          max={Math.max(0, count - 1)}
          step={1}
          value={at}
          text={text}
          onChange={show}
        />
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
        {saveButton('gif', 'GIF')}
        {video !== null && saveButton('video', video.name)}
      </div>
    </div>
  );
}
