/** The same image through a run's checkpoints. */
import type { LookModel } from '../api.ts';
import { count } from '../ui/format.ts';
import { Slider } from '../ui/slider.tsx';

interface CheckpointSliderProps {
  /** Of the run that the model is of, oldest first. */
  checkpoints: LookModel['checkpoints'];
  weights: string;
  onChange: (weights: string) => void;
}

export function CheckpointSlider({ checkpoints, weights, onChange }: CheckpointSliderProps) {
  const last = checkpoints.length - 1;
  const found = checkpoints.findIndex(({ path }) => path === weights);
  const at = found === -1 ? last : found;
  return (
    <Slider
      label="Checkpoint"
      value={at}
      min={0}
      max={last}
      step={1}
      text={`step ${count(checkpoints[at]!.step)}`}
      onChange={(value) => onChange(checkpoints[value]!.path)}
    />
  );
}
