/** A slider with its label and its value, which `onChange` gets while it is dragged. */
interface SliderProps {
  label: string;
  min: number;
  max: number;
  step: number | 'any';
  value: number;
  /** The value in words. */
  words: string;
  onChange: (value: number) => void;
}

export function Slider({ label, min, max, step, value, words, onChange }: SliderProps) {
  return (
    <label class="slider">
      <span>{label}</span>
      <input
        {...{ min, max, step, value }}
        type="range"
        aria-valuetext={words}
        onInput={(event) => onChange(event.currentTarget.valueAsNumber)}
      />
      <output>{words}</output>
    </label>
  );
}
