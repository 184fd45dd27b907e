"""Traffic between a release and a candidate: the flag, who answers whom, and the event log.

flag       a YAML file that is read again when it changes; the share of users by a salted hash
users      hashed ids of users, signed ids of queries
writer     one thread that appends to the log
traffic    all of it as the one object that an app calls
events     POST /events
"""

from clipadapt.service.traffic.events import events_router
from clipadapt.service.traffic.traffic import Route, Traffic

__all__ = ["Route", "Traffic", "events_router"]
