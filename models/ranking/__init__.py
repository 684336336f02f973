"""Windows in, ranked lists out: the catalogue, candidates, the pipeline, lists without the model."""
