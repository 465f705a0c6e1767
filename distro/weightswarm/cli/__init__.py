"""The command line: one file a command, over `weightswarm.api`. Options, drawing and exit codes live here."""
