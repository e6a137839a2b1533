"""Generated hostile files through the readers, and the program that runs many of them."""
