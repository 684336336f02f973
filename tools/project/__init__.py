"""Documents about the project: licences, bill of materials, advisories, settings, contract."""
