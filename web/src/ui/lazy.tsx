import type { ComponentType } from 'preact';
import { useAnswer } from '../use-answer.ts';
import { Failure, Loading } from './parts.tsx';

/** A component whose code is loaded when it is first shown. */
export function lazy<P extends object>(
  what: string,
  load: () => Promise<ComponentType<P>>,
): ComponentType<P> {
  let Loaded: ComponentType<P> | null = null;
  return function Lazy(props: P) {
    const { error } = useAnswer(async () => (Loaded = await load()), Loaded === null ? what : null);
    if (Loaded !== null) return <Loaded {...props} />;
    return error === null ? <Loading what={what} /> : <Failure error={error} />;
  };
}
