"""The `saint` command: arguments in, one call into a room, text out. One module per noun; rooms load when needed."""
