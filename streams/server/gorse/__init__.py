"""The Gorse door: the part of Gorse's REST API that its clients use, over headrace."""
