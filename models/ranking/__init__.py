"""Windows in, ranked lists out: the catalogue, candidates, the pipeline, fallback lists."""
