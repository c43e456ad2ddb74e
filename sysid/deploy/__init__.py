"""Trained models at work: sample by sample, and as ONNX or C."""
