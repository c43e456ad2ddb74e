"""What was measured: records, files, splits, regressors, windows, scaling."""
