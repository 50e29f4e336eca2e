/** The method of the paper: multi-crop forward, loss and centre, EMA teacher, collapse monitor. */
export {
  CollapseMonitor,
  type Collapse,
  type CollapseMonitorOptions,
  monitorPatience,
  type CollapseWarning,
  type TeacherStatistics,
} from './collapse-monitor.js';
export { targetMeans, teacherStatistics, type TargetMeans } from './teacher-statistics.js';
export { DataParallel } from './data-parallel.js';
export { CodingRateLoss, type CodingRateLossOptions } from './coding-rate.js';
export { LowRankUpdates, type LowRankOptions } from './low-rank.js';
export { DINOLoss, type DINOLossOptions } from './loss.js';
export { Objective, type ObjectiveOptions, type ObjectiveResult } from './objective.js';
export { MultiCropWrapper } from './multi-crop.js';
export {
  dinoStep,
  queueStep,
  type QueuedResult,
  type StepResult,
  type StepSettings,
  type TrainingState,
} from './step.js';
export { UnreadSteps } from './unread-steps.js';
export { updateTeacher } from './teacher.js';
