"""How work runs, not what it is: storage, digests, memory, progress, timings, compiled code, processes and Ray."""
