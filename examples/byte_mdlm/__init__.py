"""A masked-diffusion language model over bytes (LLaDA-like) on Python source text."""
