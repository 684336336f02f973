"""Text to vectors: cleaning and segmentation, text models, pooling and whitening."""
