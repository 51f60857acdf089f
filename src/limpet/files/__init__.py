"""The system's files behind SFTP: where a path may lead, what is done there, and who does it.

Rule: nothing here loads Twisted. It runs in a small process of its own, as the session's user,
which may wait for a disk without anybody else waiting with it.

    beneath      opens a path that cannot lead out of a directory
    filesystem   the operations: `Files`, and `ConfinedFiles`, which stays in its directory
    requests     SFTP's requests, answered one after the other
    worker       the process: becomes the user, then serves its standard input and output
"""
