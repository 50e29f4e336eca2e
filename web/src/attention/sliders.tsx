/** The controls beside a map: which head, how it is drawn, how strongly, how much of it, at which size. */
import { useId } from 'preact/hooks';
import { percent } from '../ui/format.ts';
import { Slider } from '../ui/slider.tsx';
import { type Style, STYLES } from './paint.ts';

/** How maps are laid over their pictures. */
export interface Drawn {
  /** Which head's map: 0 is the mean of all. */
  head: number;
  setHead: (head: number) => void;
  style: Style;
  setStyle: (style: Style) => void;
  /** How opaque the map is where it is strongest, 0 to 1. */
  overlay: number;
  setOverlay: (overlay: number) => void;
  /** The patches that hold this share of the attention are shown, 0 to 1. */
  mass: number;
  setMass: (mass: number) => void;
}

/** How maps are drawn unless something else is chosen. */
export const USUAL_DRAWN = { head: 0, style: 'smooth' as Style, overlay: 0.85, mass: 1 };

/** A row of a `.sliders` grid: a choice among the ways to draw. */
function StyleChoice({ style, onChange }: { style: Style; onChange: (style: Style) => void }) {
  const id = useId();
  return (
    <>
      <label for={id}>Drawn</label>
      <select id={id} value={style} onInput={(event) => onChange(event.currentTarget.value as Style)}>
        {(Object.keys(STYLES) as Style[]).map((one) => (
          <option key={one} value={one}>
            {STYLES[one]}
          </option>
        ))}
      </select>
    </>
  );
}

export interface MapSlidersProps {
  drawn: Drawn;
  /** 0 where what is shown has no heads: then nothing that is about attention is offered. */
  heads: number;
  /** Sides that the picture may be computed at, in pixels; none when it is not computed here. */
  resolution?: { side: number; patchSize: number; largest: number; onSide: (side: number) => void };
}

/** Rows of a `.sliders` grid; those that would change nothing are left out. */
export function MapSliders({ drawn, heads, resolution }: MapSlidersProps) {
  const { head, style, overlay, mass } = drawn;
  const share = (label: string, value: number, min: number, onChange: (value: number) => void) => (
    <Slider {...{ label, value, min, onChange }} max={1} step={0.05} text={percent(value)} />
  );
  return (
    <>
      {heads > 1 && (
        <Slider
          label="Head"
          value={head}
          min={0}
          max={heads}
          step={1}
          text={head === 0 ? 'mean' : String(head)}
          onChange={drawn.setHead}
        />
      )}
      <StyleChoice style={style} onChange={drawn.setStyle} />
      {style !== 'map' && share('Strength', overlay, 0.05, drawn.setOverlay)}
      {heads > 0 && share('Attention shown', mass, 0.05, drawn.setMass)}
      {resolution !== undefined && (
        <Slider
          label="Resolution"
          value={resolution.side}
          min={4 * resolution.patchSize}
          max={resolution.largest}
          step={resolution.patchSize}
          text={`${resolution.side} px`}
          onChange={resolution.onSide}
        />
      )}
    </>
  );
}
