"""TensorFlow's own answers, pinned: how they are computed, how far TensorFlow is from itself, how fast it is."""
