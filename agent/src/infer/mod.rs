//! Engines: tract always, ONNX Runtime when installed.
