"""Makes tiny_faces.tflite and tiny_faces.npz: a network of all operators that the face detector has, and what it says of a picture.

usage: tiny_faces.py   (in this folder)

Needs ai-edge-litert==2.3.0, flatbuffers==25.12.19, numpy==2.4.6, tflite==2.18.0.
"""

import flatbuffers
import numpy as np
import tflite as fb
from ai_edge_litert.interpreter import Interpreter

SIDE = 8
RANDOM = np.random.default_rng(7)
builder = flatbuffers.Builder(1 << 16)
buffers, tensors, operators, codes = [b""], [], [], []


def vector(start, items, add):
    start(builder, len(items))
    for item in reversed(items):
        add(item)
    return builder.EndVector()


def numbers(start, items):
    return vector(start, items, builder.PrependInt32)


def offsets(start, items):
    return vector(start, items, builder.PrependUOffsetTRelative)


def tensor(name, shape, value=None):
    """Index of a new tensor."""
    kinds = {np.dtype("f4"): 0, np.dtype("f2"): 1, np.dtype("i4"): 2}
    buffer = 0
    if value is not None:
        buffers.append(value.tobytes())
        buffer = len(buffers) - 1
    label, dims = builder.CreateString(name), numbers(fb.TensorStartShapeVector, shape)
    fb.TensorStart(builder)
    fb.TensorAddShape(builder, dims)
    fb.TensorAddType(builder, kinds[np.dtype("f4") if value is None else value.dtype])
    fb.TensorAddBuffer(builder, buffer)
    fb.TensorAddName(builder, label)
    tensors.append(fb.TensorEnd(builder))
    return len(tensors) - 1


def operator(kind, inputs, shape, options=(0, None)):
    """Index of the tensor that a new operator gives."""
    output = tensor(f"t{len(tensors)}", shape)
    codes.append(kind)
    ins, outs = (numbers(start, ends) for start, ends in ((fb.OperatorStartInputsVector, inputs), (fb.OperatorStartOutputsVector, [output])))
    fb.OperatorStart(builder)
    fb.OperatorAddOpcodeIndex(builder, len(codes) - 1)
    fb.OperatorAddInputs(builder, ins)
    fb.OperatorAddOutputs(builder, outs)
    if options[1] is not None:
        fb.OperatorAddBuiltinOptionsType(builder, options[0])
        fb.OperatorAddBuiltinOptions(builder, options[1])
    operators.append(fb.OperatorEnd(builder))
    return output


def constant(shape):
    """A constant of 16 bits, widened."""
    stored = tensor("half", shape, RANDOM.normal(size=shape).astype(np.float16))
    return operator(fb.BuiltinOperator.DEQUANTIZE, [stored], shape)


def convolution(hidden, shape, kernel, stride, padding):
    weight, bias = constant([shape[3], *kernel]), constant([shape[3]])
    fb.Conv2DOptionsStart(builder)
    fb.Conv2DOptionsAddPadding(builder, padding)
    fb.Conv2DOptionsAddStrideW(builder, stride)
    fb.Conv2DOptionsAddStrideH(builder, stride)
    options = (fb.BuiltinOptions.Conv2DOptions, fb.Conv2DOptionsEnd(builder))
    return operator(fb.BuiltinOperator.CONV_2D, [hidden, weight, bias], shape, options)


def main():
    pixels = tensor("pixels", [1, SIDE, SIDE, 3])
    wide = convolution(pixels, [1, 4, 4, 4], [3, 3, 3], 2, fb.Padding.SAME)
    wide = operator(fb.BuiltinOperator.RELU, [wide], [1, 4, 4, 4])
    weight, bias = constant([1, 3, 3, 4]), constant([4])
    fb.DepthwiseConv2DOptionsStart(builder)
    fb.DepthwiseConv2DOptionsAddPadding(builder, fb.Padding.SAME)
    fb.DepthwiseConv2DOptionsAddStrideW(builder, 2)
    fb.DepthwiseConv2DOptionsAddStrideH(builder, 2)
    fb.DepthwiseConv2DOptionsAddDepthMultiplier(builder, 1)
    options = (fb.BuiltinOptions.DepthwiseConv2DOptions, fb.DepthwiseConv2DOptionsEnd(builder))
    deep = operator(fb.BuiltinOperator.DEPTHWISE_CONV_2D, [wide, weight, bias], [1, 2, 2, 4], options)
    deep = convolution(deep, [1, 2, 2, 6], [1, 1, 4], 1, fb.Padding.VALID)
    fb.Pool2DOptionsStart(builder)
    fb.Pool2DOptionsAddPadding(builder, fb.Padding.SAME)
    for add in (fb.Pool2DOptionsAddStrideW, fb.Pool2DOptionsAddStrideH, fb.Pool2DOptionsAddFilterWidth, fb.Pool2DOptionsAddFilterHeight):
        add(builder, 2)
    options = (fb.BuiltinOptions.Pool2DOptions, fb.Pool2DOptionsEnd(builder))
    pooled = operator(fb.BuiltinOperator.MAX_POOL_2D, [wide], [1, 2, 2, 4], options)
    pads = tensor("pads", [4, 2], np.int32([[0, 0], [0, 0], [0, 0], [0, 2]]))
    pooled = operator(fb.BuiltinOperator.PAD, [pooled, pads], [1, 2, 2, 6])
    fb.AddOptionsStart(builder)
    options = (fb.BuiltinOptions.AddOptions, fb.AddOptionsEnd(builder))
    deep = operator(fb.BuiltinOperator.ADD, [deep, pooled], [1, 2, 2, 6], options)
    fb.ResizeBilinearOptionsStart(builder)
    fb.ResizeBilinearOptionsAddHalfPixelCenters(builder, True)
    options = (fb.BuiltinOptions.ResizeBilinearOptions, fb.ResizeBilinearOptionsEnd(builder))
    size = tensor("size", [2], np.int32([4, 4]))
    deep = operator(fb.BuiltinOperator.RESIZE_BILINEAR, [deep, size], [1, 4, 4, 6], options)
    ends = []
    for count in (1, 16):
        end = convolution(deep, [1, 4, 4, count], [1, 1, 6], 1, fb.Padding.SAME)
        shape = tensor("shape", [3], np.int32([1, 16, count]))
        ends.append(operator(fb.BuiltinOperator.RESHAPE, [end, shape], [1, 16, count]))
    write(pixels, ends)

    model = Interpreter("tiny_faces.tflite")
    model.allocate_tensors()
    picture = RANDOM.uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
    model.set_tensor(model.get_input_details()[0]["index"], picture)
    model.invoke()
    logits, boxes = sorted((model.get_tensor(end["index"]) for end in model.get_output_details()), key=lambda end: end.shape[2])
    np.savez("tiny_faces.npz", pixels=picture, faces=np.concatenate([logits, boxes[:, :, :4]], axis=2))


def write(pixels, ends):
    parts = [
        offsets(fb.SubGraphStartTensorsVector, tensors),
        numbers(fb.SubGraphStartInputsVector, [pixels]),
        numbers(fb.SubGraphStartOutputsVector, ends),
        offsets(fb.SubGraphStartOperatorsVector, operators),
    ]
    fb.SubGraphStart(builder)
    for add, part in zip((fb.SubGraphAddTensors, fb.SubGraphAddInputs, fb.SubGraphAddOutputs, fb.SubGraphAddOperators), parts):
        add(builder, part)
    graphs = [fb.SubGraphEnd(builder)]
    kinds = []
    for code in codes:
        fb.OperatorCodeStart(builder)
        fb.OperatorCodeAddDeprecatedBuiltinCode(builder, code)
        fb.OperatorCodeAddBuiltinCode(builder, code)
        fb.OperatorCodeAddVersion(builder, 2 if code == fb.BuiltinOperator.DEQUANTIZE else 1)
        kinds.append(fb.OperatorCodeEnd(builder))
    stored = []
    for buffer in buffers:
        data = builder.CreateByteVector(buffer) if buffer else None
        fb.BufferStart(builder)
        if data:
            fb.BufferAddData(builder, data)
        stored.append(fb.BufferEnd(builder))
    parts = [
        offsets(fb.ModelStartOperatorCodesVector, kinds),
        offsets(fb.ModelStartSubgraphsVector, graphs),
        offsets(fb.ModelStartBuffersVector, stored),
    ]
    fb.ModelStart(builder)
    fb.ModelAddVersion(builder, 3)
    for add, part in zip((fb.ModelAddOperatorCodes, fb.ModelAddSubgraphs, fb.ModelAddBuffers), parts):
        add(builder, part)
    builder.Finish(fb.ModelEnd(builder), b"TFL3")
    with open("tiny_faces.tflite", "wb") as file:
        file.write(builder.Output())


if __name__ == "__main__":
    main()
