"""Whether a worker does its work: the watchdog, its counters, and alarms about what comes in."""
