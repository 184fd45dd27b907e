"""Template sets compared, explained and weighed on a catalogue's pictures, fast enough to follow an editor's typing."""
