"""Sampling with vLLM, in this process or over HTTP: the protocol of varcore.llm.sampling, other engines."""
