"""Evaluation: bits/dim, rate and distortion, FID, Inception score; how they were measured."""
