"""Commands that show headrace at work: a demo, drills and benches."""
