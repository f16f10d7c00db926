"""The subcommands of `scripts/train/kit`: each module has HELP, configure(parser) and run(args)."""
