"""The Faust app, its consumer and its pages, as headrace changes them."""
