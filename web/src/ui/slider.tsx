/** A slider with its label and its value, which `onChange` gets while it is dragged. */
import { useId } from 'preact/hooks';
import './slider.css';

export interface SliderProps {
  label: string;
  /** Only screen readers get the label: what stands beside it says what the slider is. */
  isLabelHidden?: boolean;
  min: number;
  max: number;
  step: number | 'any';
  value: number;
  /** The value in words, beside the slider and for screen readers. */
  text: string;
  onChange: (value: number) => void;
}

export function Slider({ label, isLabelHidden = false, min, max, step, value, text, onChange }: SliderProps) {
  const id = useId();
  return (
    <span class="slider">
      <label for={id} class={isLabelHidden ? 'hidden' : undefined}>
        {label}
      </label>
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
    </span>
  );
}
