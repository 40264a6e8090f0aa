"""Synthetic heads: diverse CC0 heads seen from every side, with exact cameras, masks, depths and part labels.

docs/heads.md says how to make a set, how it lies on the disk and under which licences.
"""
