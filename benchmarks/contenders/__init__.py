"""A file for each contender, named as on the command line, with a function ``build(net, threads)`` that gives its ways."""
