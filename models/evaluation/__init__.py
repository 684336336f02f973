"""How good lists are: splits, baselines, ablations and cold cases, measured offline."""
