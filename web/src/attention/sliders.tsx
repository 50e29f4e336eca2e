/** The sliders beside a map: which head, how strongly, how much of it, at which size. */
import { useId, useState } from 'preact/hooks';
import { percent } from '../ui/format.ts';

export interface SliderProps {
  label: string;
  value: number;
  min: number;
  max: number;
  step: number;
  /** The value in words, beside the slider and for screen readers. */
  text: string;
  onChange: (value: number) => void;
}

/** One row of a `.sliders` grid. */
export function Slider({ label, value, min, max, step, text, onChange }: SliderProps) {
  const id = useId();
  return (
    <>
      <label for={id}>{label}</label>
      <input
        id={id}
        type="range"
        min={min}
        max={max}
        step={step}
        value={value}
        aria-valuetext={text}
        onInput={(event) => onChange(event.currentTarget.valueAsNumber)}
      />
      <output for={id}>{text}</output>
    </>
  );
}

/** How maps are laid over their pictures. */
export interface Drawn {
  /** Which head's map: 0 is the mean of all. */
  head: number;
  setHead: (head: number) => void;
  /** How much of the map covers the picture, 0 to 1. */
  overlay: number;
  setOverlay: (overlay: number) => void;
  /** The patches that hold this share of the attention are shown, 0 to 1. */
  mass: number;
  setMass: (mass: number) => void;
}

export function useDrawn(): Drawn {
  const [head, setHead] = useState(0);
  const [overlay, setOverlay] = useState(0.6);
  const [mass, setMass] = useState(1);
  return { head, setHead, overlay, setOverlay, mass, setMass };
}

export interface MapSlidersProps {
  drawn: Drawn;
  heads: number;
  /** Sides that the picture may be computed at, in pixels; none when it is not computed here. */
  resolution?: { side: number; patchSize: number; largest: number; onSide: (side: number) => void };
}

/** Rows of a `.sliders` grid. */
export function MapSliders({ drawn, heads, resolution }: MapSlidersProps) {
  const { head, overlay, mass } = drawn;
  const share = (label: string, value: number, min: number, onChange: (value: number) => void) => (
    <Slider {...{ label, value, min, onChange }} max={1} step={0.05} text={percent(value)} />
  );
  return (
    <>
      <Slider
        label="Head"
        value={head}
        min={0}
        max={heads}
        step={1}
        text={head === 0 ? 'mean' : String(head)}
        onChange={drawn.setHead}
      />
      {share('Overlay', overlay, 0, drawn.setOverlay)}
      {share('Mass shown', mass, 0.05, drawn.setMass)}
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
