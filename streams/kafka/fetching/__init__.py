"""Record batches as the broker sends them, unpacked in bounded memory."""
