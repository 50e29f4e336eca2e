/** Exploring a folder of images: an index on disk, search, near-duplicates, outliers, clusters, subsets. */
export { buildIndex, type BuildIndexOptions, type BuildIndexResult } from './build-index.js';
export { ImageIndex, type Match, type NearestOptions } from './image-index.js';
export type { NearestRows } from './nearest-rows.js';
export type { IndexedImage, IndexFeatures, IndexManifest } from './index-format.js';
export { loadIndexModel, searchIndex, type Region, type SearchOptions } from './search.js';
export { findDuplicates, type DuplicateGroup, type DuplicateOptions } from './duplicates.js';
export { findOutliers, type Outlier, type OutlierOptions } from './outliers.js';
export { clusterIndex, type Cluster, type Clustering, type ClusterOptions } from './cluster.js';
export { selectImages, type SelectBy, type SelectOptions } from './select.js';
export { putImages, writeList, type ImageGroups, type PutOptions } from './put-images.js';
export { layoutMap, makeMap, readMap, type MapOptions } from './map.js';
export { labelImages, readLabels, type IndexLabels } from './labels.js';
export { proposeLabels, type Proposal, type ProposeOptions } from './propose.js';
export { galleryOfIndex } from './gallery.js';
export { labelledImages } from './labelled-images.js';
