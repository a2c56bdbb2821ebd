"""Benchmarks: ratios against peers, interleaved in one run, since machines are noisy."""
