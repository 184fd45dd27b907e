"""Training: a config and a catalogue in, a run with its best adapter out."""
