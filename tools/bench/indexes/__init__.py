"""What ``headrace bench index`` measures: kinds of index, and vectors like those of a shop."""
