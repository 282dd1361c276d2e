"""What can be done where the model itself is at hand, beside its weights: needs torch.

The public functions are `arrow_quant_v2.calibration.refine` and those of `ArrowQuantV2` that take a
model.
"""
