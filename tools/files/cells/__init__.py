"""What the cells of catalogues and of users hold: prices, lists, words for nothing; and what is left out."""
