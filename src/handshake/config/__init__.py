"""What the machine and the repository say: configuration, trust, failpoints, shipped files."""
