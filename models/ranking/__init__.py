"""From windows to ranked lists: candidates of each source, fusion, reasons and fallback lists."""
