/** Said beside the models of the studio's folders where these are too many to look through. */
export const NotAllFolders = () => (
  <p class="note">
    Not all folders were looked through for weights: there are too many. To have those that are missing here,
    start the studio with their folder as well: <code>dino studio FOLDER FOLDER</code>.
  </p>
);
