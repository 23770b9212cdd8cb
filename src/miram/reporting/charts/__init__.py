"""Charts and pictures that several sections or pipelines share."""
