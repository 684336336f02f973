"""What a shop may decide about its lists, apart from the models."""
