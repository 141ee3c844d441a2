"""One list of operations at two file systems, and what differs between them afterwards."""
