"""Fused recurrences: compiled loops over time, each beside its plain PyTorch reference."""
