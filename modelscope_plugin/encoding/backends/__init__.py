"""Computation of vectors by torch or ONNX Runtime, behind one protocol."""
