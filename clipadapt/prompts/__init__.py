"""Prompt templates: captions to train with and texts to recognise values by, from a YAML file that people edit."""

from clipadapt.prompts.library import Prompts

__all__ = ["Prompts"]
