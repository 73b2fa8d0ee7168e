"""What computes vectors: torch or ONNX Runtime, behind one protocol."""
