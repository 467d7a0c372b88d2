"""Variational reasoning on language models: the mathematics of varcore applied to token sequences.

Import the modules by name (``from varcore.llm import sampling``); nothing is loaded before it is used.
"""
