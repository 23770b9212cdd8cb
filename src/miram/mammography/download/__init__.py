"""Collections from The Cancer Imaging Archive: planned, fetched, checked."""
