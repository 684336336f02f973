"""What the cells of files hold: prices, lists, dates, words for types; and what is left out."""
