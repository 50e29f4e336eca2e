/** References to C++ objects, as returned by native/torch. */

declare const handleBrand: unique symbol;
/** An opaque reference to a C++ object of kind K. */
export interface NativeHandle<K extends string> {
  readonly [handleBrand]: K;
}
export type TensorHandle = NativeHandle<'tensor'>;
export type OperatorHandle = NativeHandle<'operator'>;
export type GeneratorHandle = NativeHandle<'generator'>;
