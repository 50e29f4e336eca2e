/** The sign of a folder, in any font. */
export function FolderIcon() {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d="M1.5 3h4l1.5 2h7.5v8.5h-13z" fill="none" stroke="currentColor" stroke-linejoin="round" />
    </svg>
  );
}
