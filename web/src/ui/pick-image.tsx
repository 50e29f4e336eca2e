import { useEffect, useState } from 'preact/hooks';
import './pick-image.css';

const imageOf = (data: DataTransfer | null): File | null =>
  [...(data?.files ?? [])].find((file) => file.type.startsWith('image/')) ?? data?.files[0] ?? null;

export interface PickImageProps {
  /** The text of the button. */
  label: string;
  onImage: (image: File) => void;
  /** Whether images that are pasted, or dropped, anywhere in the page are taken. */
  takesPaste: boolean;
}

/** Takes an image from a file dialog, by drag and drop, or pasted. */
export function PickImage({ label, onImage, takesPaste }: PickImageProps) {
  const [isOver, setOver] = useState(false);
  useEffect(() => {
    if (!takesPaste) return;
    const paste = (event: ClipboardEvent): void => {
      const image = imageOf(event.clipboardData);
      if (image === null) return;
      event.preventDefault();
      onImage(image);
    };
    const drop = (event: DragEvent): void => {
      const image = imageOf(event.dataTransfer);
      if (image === null || event.defaultPrevented) return; // a box has taken it
      event.preventDefault();
      onImage(image);
    };
    document.addEventListener('paste', paste);
    document.addEventListener('drop', drop);
    return () => {
      document.removeEventListener('paste', paste);
      document.removeEventListener('drop', drop);
    };
  }, [onImage, takesPaste]);
  return (
    <div
      class={isOver ? 'pick-image over' : 'pick-image'}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const image = imageOf(event.dataTransfer);
        if (image !== null) onImage(image);
      }}
    >
      <label class="file">
        {label}
        <input
          class="hidden"
          type="file"
          accept="image/*"
          onChange={(event) => {
            const { files } = event.currentTarget;
            const image = files?.[0];
            if (image !== undefined) onImage(image);
            event.currentTarget.value = ''; // the same file may be picked again
          }}
        />
      </label>
      <p class="note">or drop one here{takesPaste ? ', or paste it' : ''}</p>
    </div>
  );
}
