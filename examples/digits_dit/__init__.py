"""A class-conditional diffusion transformer (DiT) on 8 x 8 handwritten digits."""
