/**
 * Fits a classifier to a folder with one folder of images per class, on the features of a trained model, and classifies
 * images with it.
 *
 *   node examples/classify.mjs RUN LABELLED IMAGES
 */
import { fitClassifier, loadModel } from 'dino-ts';

const [run, labelled, images] = process.argv.slice(2);
if (images === undefined) throw new Error('expected RUN LABELLED IMAGES');
const model = loadModel(run);
const { classifier, crossValidation } = await fitClassifier(model, { images: labelled });
const { predictions } = await classifier.predict(images);
console.log(JSON.stringify({ accuracy: crossValidation?.accuracy, predictions }));
model.dispose();
