"""Results for people and programs: HTML, charts, TensorBoard, plain JSON."""
