"""What benchmarks measure against: a module each, of a library of its own."""
