"""The interactive shell, which is also the interpreter of scripts and pipes."""
