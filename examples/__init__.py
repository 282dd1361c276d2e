"""Two small, real diffusion models: the demo's input, and a yardstick for the quantizer."""
