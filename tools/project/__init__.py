"""Papers of the project itself: licences, bill of materials, advisories, the table of settings."""
