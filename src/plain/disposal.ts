/**
 * Symbol.dispose and Symbol.asyncDispose where a context lacks them: Node 20 adds them only to its main context, and vitest's
 * vm pools run tests in others. They are those of Node's own objects, which `using` disposes of too. To be imported before
 * any class that has them.
 */
for (const name of ['dispose', 'asyncDispose'] as const) {
  if ((Symbol as Partial<SymbolConstructor>)[name] === undefined)
    Object.defineProperty(Symbol, name, { value: Symbol.for(`nodejs.${name}`) });
}
