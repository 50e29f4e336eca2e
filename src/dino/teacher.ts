/**
 * The teacher: a running average of the student (paper, section 3.1 "Teacher network"; reference: main_dino.py
 * train_one_epoch, "EMA update for the teacher").
 */
import type { Module } from '../nn/index.js';
import { noGrad, ops, scope, type Tensor } from '../torch/index.js';

/** teacher <- momentum * teacher + (1 - momentum) * student, parameter by parameter; the teacher keeps its own buffers. */
export function updateTeacher(student: Module, teacher: Module, momentum: number): void {
  scope(() =>
    noGrad(() => {
      const from: Tensor[] = [...student.parameters()];
      const into: Tensor[] = [...teacher.parameters()];
      ops._foreachLerp_(into, from, 1 - momentum);
    }),
  );
}
