"""What people clicked, per release: from a service's event log to a difference that may be read every day.

exposures   events -> who was shown what, at which position, and what of it was clicked
readout     figures of both arms with intervals, day by day; whether the users came in at their share; a verdict
report      text, JSON and a page
"""
