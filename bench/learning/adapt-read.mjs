/** `node adapt-read.mjs TRAIN VAL WEIGHTS...` prints k-NN and logistic regression of weights as JSON lines, then a last one. */
import { evaluateKnn, fitClassifier, loadModel } from '../../dist/index.js';

const K = 20;
const [train, val, ...places] = process.argv.slice(2);
for (const place of places) {
  const model = loadModel(place, { device: 'cpu' });
  const knn = await evaluateKnn(model, { train, val, k: [K] });
  const { validation } = await fitClassifier(model, { images: train, validation: val, scaling: 'pca' });
  console.log(
    JSON.stringify({
      knn: knn.top1[K],
      whitened: knn.pca?.top1[K] ?? null,
      linear: 100 * validation.accuracy.value,
      images: knn.valImages,
    }),
  );
  model.dispose();
}
console.log(JSON.stringify({ done: true }));
