"""Records, tables and pure rules of the contract. Data only: nothing here opens a file or runs a program."""
