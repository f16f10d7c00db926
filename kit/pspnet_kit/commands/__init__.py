"""The subcommands of `kit/kit`: each module has HELP, configure(parser) and run(args)."""
