//! A host set up as an operator would, through the `portcullis` command.
