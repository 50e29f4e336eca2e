/** Runs: what is being trained, and what was. */
import { runs } from '../live.ts';
import { route } from '../router.ts';
import { Loading } from '../ui/parts.tsx';
import { FirstSteps } from './first-steps.tsx';
import { RunList } from './run-list.tsx';
import { RunPage } from './run.tsx';
import './runs.css';

export function Runs() {
  const list = runs.value;
  const id = route.value.parts[1];
  if (id !== undefined) return <RunPage key={id} id={id} />;
  if (list === null) return <Loading what="runs" />;
  return list.length === 0 ? <FirstSteps /> : <RunList list={list} />;
}
