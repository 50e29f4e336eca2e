/** The note on a run, and its editor. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { NOTE_LIMIT } from '../../../src/plain/limits.ts';
import type { RunSummary } from '../api.ts';
import { RequestError } from '../errors.ts';
import { Form } from '../ui/form.tsx';
import { Failure } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';

interface EditorProps {
  run: RunSummary;
  onClose: () => void;
}

function Editor({ run, onClose }: EditorProps) {
  const [text, setText] = useState(run.note);
  const [before, setBefore] = useState(run.note);
  const { ask, isBusy, error } = useRequest('POST /api/runs/:run/note');
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => area.current?.focus(), []);
  const save = async (): Promise<void> => {
    // who was told that it has changed, and saves again, replaces what is there now
    const isTold = error instanceof RequestError && error.code === 'CHANGED';
    if (isTold) setBefore(run.note);
    const body = { text: text.trim(), before: isTold ? run.note : before };
    if ((await ask({ params: { run: run.id }, body })) !== null) onClose();
  };
  return (
    <Form class="note-form" onSubmit={() => void save()}>
      <label>
        Note on this run
        <textarea
          rows={3}
          maxLength={NOTE_LIMIT}
          value={text}
          ref={area}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </label>
      <p class="row">
        <button type="submit" class="main" disabled={isBusy}>
          {isBusy ? 'Saving…' : 'Save note'}
        </button>
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <span class="note">It is kept in note.json in the run’s folder.</span>
      </p>
      {error !== null && <Failure error={error} />}
    </Form>
  );
}

export function Note({ run }: { run: RunSummary }) {
  const [isOpen, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const wasOpen = useRef(false);
  useEffect(() => {
    if (wasOpen.current && !isOpen) button.current?.focus();
    wasOpen.current = isOpen;
  }, [isOpen]);
  if (isOpen) return <Editor run={run} onClose={() => setOpen(false)} />;
  return (
    <div class="row run-note">
      {run.note !== '' && <p class="noted">{run.note}</p>}
      <button type="button" class="quiet" ref={button} onClick={() => setOpen(true)}>
        {run.note === '' ? 'Add a note' : 'Edit the note'}
      </button>
    </div>
  );
}
