"""Drills: load, observation, verdict and report around what is broken on purpose."""
