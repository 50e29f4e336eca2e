/**
 * Points of one size as WebGL's own points: one vertex each. deck.gl's ScatterplotLayer draws an instance of four vertices for each,
 * which takes a tenth of a second for 100,000 of them without a graphics card.
 */
import { Layer, project32, type UpdateParameters } from '@deck.gl/core';
import { Model, type ModelProps } from '@luma.gl/engine';

/** Compared by reference: the same object is not sent to the graphics card again. */
export interface Points {
  length: number;
  attributes: {
    getPosition: { value: Float32Array; size: 2 };
    getFillColor: { value: Uint8Array; size: 4; normalized: true };
  };
}

interface PointsLayerOwnProps {
  data: Points;
  /** The first ones are drawn. */
  drawn: number;
  /** Pixels. Fixed when the layer is made. */
  diameter: number;
}

const vs = `#version 300 es
in vec3 positions;
in vec3 positions64Low;
in vec4 colors;
out vec4 vColor;
void main() {
  gl_Position = project_position_to_clipspace(positions, positions64Low, vec3(0.0));
  gl_PointSize = DIAMETER * project.devicePixelRatio;
  vColor = colors;
}`;

const fs = `#version 300 es
precision highp float;
in vec4 vColor;
out vec4 fragColor;
void main() {
  // a pixel at the rim is partly covered
  float inner = (1.0 - 2.0 * length(gl_PointCoord - 0.5)) * DIAMETER * 0.5;
  float covered = clamp(inner + 0.5, 0.0, 1.0);
  fragColor = vec4(vColor.rgb, vColor.a * covered);
}`;

export class PointsLayer extends Layer<PointsLayerOwnProps> {
  static override readonly layerName = 'PointsLayer';
  declare state: { model?: Model };

  override initializeState(): void {
    this.getAttributeManager()!.add({
      positions: { size: 3, type: 'float64', fp64: this.use64bitPositions(), accessor: 'getPosition' },
      colors: { size: 4, type: 'unorm8', accessor: 'getFillColor' },
    });
  }

  override getNumInstances(): number {
    return this.props.data.length;
  }

  override updateState(parameters: UpdateParameters<this>): void {
    super.updateState(parameters);
    if (!parameters.changeFlags.extensionsChanged) return;
    this.state.model?.destroy();
    const shaders = this.getShaders({
      ...{ vs, fs, modules: [project32] },
      defines: { DIAMETER: this.props.diameter.toFixed(1) },
    }) as ModelProps;
    this.setState({
      model: new Model(this.context.device, {
        ...shaders,
        ...{ id: this.props.id, topology: 'point-list', isInstanced: false },
        bufferLayout: this.getAttributeManager()!.getBufferLayouts(),
      }),
    });
    this.getAttributeManager()!.invalidateAll();
  }

  override draw(): void {
    const { model } = this.state;
    model?.setVertexCount(this.props.drawn);
    model?.draw(this.context.renderPass);
  }
}
