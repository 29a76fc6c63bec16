"""effsearch: efficient vision backbones for a device and a latency budget."""
