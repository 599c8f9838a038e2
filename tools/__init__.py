"""Long runs that pytest does not collect: generated bodies, a soak, mutations. The Makefile starts each of them."""
