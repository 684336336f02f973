"""From records of ``items`` to changes of the catalogue."""
