"""Networks as ONNX files, for onnxruntime and TensorRT."""
