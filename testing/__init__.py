"""perdure.testing: programs are tested in this process, on a real engine, in virtual time, over crashes and lost power."""
