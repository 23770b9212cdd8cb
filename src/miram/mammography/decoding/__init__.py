"""From one file of any vendor to grey levels, or to the reason why not."""
