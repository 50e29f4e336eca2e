/**
 * The teacher: a running average of the student (paper, section 3.1 "Teacher network"; reference: main_dino.py
 * train_one_epoch, "EMA update for the teacher").
 */
import type { Module } from '../nn/index.js';
import { noGrad, ops, scope, type Tensor } from '../torch/index.js';

/**
 * teacher <- momentum * teacher + (1 - momentum) * student, parameter by parameter; the teacher keeps its own buffers.
 *
 * @param taken - () float32 on their device: with 0 the teacher stays as it is. Default: 1.
 */
export function updateTeacher(student: Module, teacher: Module, momentum: number, taken?: Tensor): void {
  scope(() =>
    noGrad(() => {
      const from: Tensor[] = [...student.parameters()];
      const into: Tensor[] = [...teacher.parameters()];
      if (taken === undefined) return ops._foreachLerp_(into, from, 1 - momentum);
      // a factor on the device: there is no fused lerp with one
      const steps = ops._foreachSub(from, into);
      ops._foreachMul_(steps, taken.mul(1 - momentum));
      ops._foreachAdd_(into, steps);
    }),
  );
}
