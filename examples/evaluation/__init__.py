"""What quantization costs the example models, and what each feature of the quantizer is worth.

    make evaluate

quantizes both models at several widths, from rounding to nearest to each feature on and off, and
measures each result against the full-precision model on trajectories that took no part in
calibration. All rows of a table share their noise. docs/evaluation.md and its plots are written by
the run. `make evaluate-full` repeats every row with more seeds and counts of trajectories.
"""
