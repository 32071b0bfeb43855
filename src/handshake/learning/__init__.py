"""What escalations teach: records only, nothing is trained. Contract: `learning.md`."""
