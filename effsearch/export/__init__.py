"""Deployable files: ONNX in and out, PyTorch and Core ML out, each checked."""
